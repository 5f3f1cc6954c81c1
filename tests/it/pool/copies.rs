//! `min_copies = 2`: what fewer members took is not acknowledged, and nothing false is said of it. Members are
//! stores in memory that fail on purpose: a simulation.

use proof_storage::backend::Backend as _;
use proof_storage::backend::faulty::Fault;
use proof_storage::model::{Class, ErrorKind, PoolMode, PutMode};
use proof_storage::pool::Pool;

use super::ring::{Ring, create, key, list, put, read, settle};

fn mirror(min_copies: usize) -> Ring {
    let mut ring = Ring::new(PoolMode::Mirror, 2);
    ring.min_copies = min_copies;
    ring
}

/// It may be there: then it is what was sent, for a read and for a listing. That it is not, nobody says.
async fn says_nothing_false(pool: &Pool, how: &str) {
    match read(pool, "a").await {
        Ok(text) => assert_eq!(text, "sent", "{how}"),
        Err(kind) => assert_eq!(kind, ErrorKind::Unavailable, "{how}"),
    }
    match list(pool).await {
        Ok(names) => assert_eq!(names, ["a", "before"], "{how}"),
        Err(kind) => assert_eq!(kind, ErrorKind::Unavailable, "{how}"),
    }
    // Sent again it is not acknowledged either, and other bytes do not take its place.
    let again = put(pool, "a", "sent", PutMode::Create).await.map(drop).unwrap_err();
    assert_eq!(again.class(), Class::Unknown, "{how}: {again:?}");
    let other = put(pool, "a", "other", PutMode::Create).await.map(drop).unwrap_err();
    assert_ne!(other.class(), Class::Answer, "{how}: too few copies for any answer: {other:?}");
}

#[tokio::test(start_paused = true)]
async fn a_create_that_one_of_two_took_is_not_acknowledged_and_ends_in_one_state() {
    let refused = Fault::Refuse(ErrorKind::Unavailable);
    // One that does it, and whose answer is lost.
    let lost = Fault::Lose(ErrorKind::Indeterminate);
    for (dark, fault, restart) in [
        (0, refused, false),
        (1, refused, false),
        (1, refused, true),
        (0, lost, false),
        (1, lost, true),
    ] {
        let how = format!("m{dark}, {fault:?}, restarted: {restart}");
        let ring = mirror(2);
        let mut pool = ring.replica();
        create(&*pool, "before", "both").await;
        settle(&pool).await;
        ring.strike(dark, fault);
        let error = put(&*pool, "a", "sent", PutMode::Create).await.map(drop).unwrap_err();
        assert_eq!(error.class(), Class::Unknown, "{how}: {error:?}");
        says_nothing_false(&pool, &how).await;
        if restart {
            pool = ring.replica();
            settle(&pool).await;
            says_nothing_false(&pool, &how).await;
        }
        ring.heal(dark);
        settle(&pool).await;
        let states = [ring.kept(0, "a").await, ring.kept(1, "a").await];
        assert_eq!(states[0], states[1], "{how}: one state");
        assert_eq!(states[0].as_deref(), Some("sent"), "{how}");
        assert_eq!(read(&*pool, "a").await.as_deref(), Ok("sent"), "{how}");
        let taken = put(&*pool, "a", "sent", PutMode::Create).await.map(drop).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists, "{how}: now it is confirmed");
        pool.delete(&key("a"), None).await.unwrap();
        settle(&pool).await;
        assert_eq!((ring.kept(0, "a").await, ring.kept(1, "a").await), (None, None), "{how}");
    }
}

/// The control: where one copy is enough, the same create is acknowledged.
#[tokio::test(start_paused = true)]
async fn where_one_copy_is_enough_it_is_acknowledged() {
    for dark in [0, 1] {
        let ring = mirror(1);
        let pool = ring.replica();
        create(&*pool, "before", "both").await;
        settle(&pool).await;
        ring.darken(dark);
        create(&*pool, "a", "sent").await;
        assert_eq!(read(&*pool, "a").await.as_deref(), Ok("sent"));
    }
}
