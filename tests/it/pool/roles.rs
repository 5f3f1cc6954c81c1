//! A write-only member: it takes what is written, and is asked for a proof only where nobody else has it. Members
//! are stores in memory: a simulation.

use std::time::Duration;

use proof_storage::backend::Backend as _;
use proof_storage::model::{ErrorKind, PoolMode, Role};

use super::ring::{Ring, create, key, read, settle};

/// Calls are counted while they are slowed down, be it by nothing.
fn watch(ring: &Ring) {
    for member in 0..ring.members.len() {
        ring.slow(member, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_only_home_takes_writes_and_is_not_read_while_another_has_it() {
    // The control: with the same reads one that serves them is asked.
    for (role, is_read) in [(Role::WriteOnly, false), (Role::ReadWrite, true)] {
        let ring = Ring::new(PoolMode::Mirror, 2).with_role(1, role);
        let pool = ring.replica();
        settle(&pool).await;
        create(&*pool, "a", "text").await;
        settle(&pool).await;
        assert_eq!(ring.kept(0, "a").await, ring.kept(1, "a").await, "{role:?}: both took it");
        tokio::time::sleep(Duration::from_secs(5)).await;
        watch(&ring);
        ring.slow(0, 10);
        ring.slow(1, 20);
        for number in 0..100 {
            // Slow ones too: a second question goes to who serves reads.
            if number > 50 && number % 10 == 0 {
                ring.slow_next(0, 10_000);
            }
            assert_eq!(read(&*pool, "a").await.as_deref(), Ok("text"), "{role:?}");
        }
        assert_eq!(ring.asked(1) > 0, is_read, "{role:?}: asked {} times", ring.asked(1));
        assert!(ring.asked(0) > 0);
        assert_eq!(pool.status().hedges_sent > 0, is_read, "{role:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_read_where_nobody_else_has_the_proof() {
    for mode in [PoolMode::Mirror, PoolMode::Fallback] {
        let ring = Ring::new(mode, 2).with_role(1, Role::WriteOnly);
        let pool = ring.replica();
        create(&*pool, "before", "early").await;
        settle(&pool).await;
        ring.darken(0);
        create(&*pool, "a", "outage").await;
        assert_eq!(ring.kept(1, "a").await.as_deref(), Some("outage"), "{mode:?}: it takes writes");
        assert_eq!(read(&*pool, "a").await.as_deref(), Ok("outage"), "{mode:?}: dark");
        let early = read(&*pool, "before").await;
        match mode {
            PoolMode::Mirror => assert_eq!(early.as_deref(), Ok("early"), "it has a copy"),
            // Only the home has it: that nobody says.
            PoolMode::Fallback => assert_eq!(early, Err(ErrorKind::Unavailable)),
        }
        ring.heal(0);
        assert_eq!(read(&*pool, "a").await.as_deref(), Ok("outage"), "{mode:?}: before any repair");
        settle(&pool).await;
        assert_eq!(ring.kept(0, "a").await.as_deref(), Some("outage"), "{mode:?}: repaired");

        // Gone from the first behind the pool's back, with nothing written down of it.
        create(&*pool, "b", "copy").await;
        settle(&pool).await;
        if mode == PoolMode::Mirror {
            ring.store(0).delete(&key("b"), None).await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
            watch(&ring);
            assert_eq!(read(&*pool, "b").await.as_deref(), Ok("copy"));
            assert!(ring.asked(1) > 0, "it was asked");
        }
    }
}
