//! A member of a mirror whose store is set back to an earlier state.

use std::time::Duration;

use bytes::Bytes;
use proof_storage::backend::Backend as _;
use proof_storage::model::{Attributes, ErrorKind, GetOptions, ObjectKey, PoolMode, PutMode};

use super::ring::{Ring, create, key, list, read, settle};

const NOT_FOUND: Result<String, ErrorKind> = Err(ErrorKind::NotFound);
const RECORDS: &str = ".proof-storage/pool/";
const GRACE: Duration = Duration::from_secs(15 * 60);

fn mirror() -> Ring {
    Ring::new(PoolMode::Mirror, 2)
}

#[tokio::test(start_paused = true)]
async fn a_member_restored_from_a_backup_brings_nothing_back() {
    // What was deleted is so new that it could be a create on its way, or old.
    for away in [Duration::from_secs(20), 2 * GRACE] {
        let ring = mirror();
        let pool = ring.replica();
        settle(&pool).await;
        create(&*pool, "deleted", "since").await;
        // What the backup will have.
        let mut backup = back_up(&ring, 1).await;
        backup.retain(|(name, ..)| *name == key("deleted"));
        pool.delete(&key("deleted"), None).await.expect("a delete is acknowledged");
        create(&*pool, "kept", "newer than the backup").await;
        // What was written down of the delete is done with.
        settle(&pool).await;
        drop(pool);
        tokio::time::sleep(away).await;
        let pool = ring.replica();
        settle(&pool).await;
        drop(pool);
        // The member is set back: it has the old proof, not the new one, and none of the pool's records.
        restore(&ring, 1, backup).await;
        let pool = ring.replica();
        for _ in 0..10 {
            settle(&pool).await;
            assert_eq!(read(&*pool, "deleted").await, NOT_FOUND, "{away:?} away");
            assert_eq!(ring.kept(0, "deleted").await, None, "it is not copied back");
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        assert_eq!(list(&*pool).await, Ok(vec!["kept".to_owned()]));
        assert_eq!(ring.kept(1, "kept").await.as_deref(), Some("newer than the backup"));
        assert_eq!(ring.kept(1, "deleted").await, None);
        let aside = ring.names(1, RECORDS).await;
        assert!(
            aside.iter().any(|name| name.contains("/quarantine/")),
            "nothing is dropped: {aside:?}"
        );
    }
}

/// All objects of a member, with the pool's own records.
async fn back_up(ring: &Ring, member: usize) -> Vec<(ObjectKey, Bytes, Attributes)> {
    let mut backup = Vec::new();
    for name in ring.names(member, "").await {
        let name = ObjectKey::new(name);
        let found = ring.store(member).get(&name, GetOptions::default()).await.unwrap();
        let attributes = found.meta.attributes.clone();
        backup.push((name, found.body.collect().await.unwrap(), attributes));
    }
    backup
}

async fn restore(ring: &Ring, member: usize, backup: Vec<(ObjectKey, Bytes, Attributes)>) {
    let store = ring.store(member);
    for name in ring.names(member, "").await {
        store.delete(&ObjectKey::new(name), None).await.unwrap();
    }
    for (name, bytes, attributes) in backup {
        store.put(&name, bytes.into(), attributes, PutMode::Create).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_in_a_backup_brings_nothing_back() {
    // The line is known to this replica still, or forgotten.
    for wait in [Duration::from_secs(20), 2 * GRACE] {
        let ring = mirror();
        let pool = ring.replica();
        settle(&pool).await;
        // A line that tells of its copy stands on the other member.
        ring.darken(0);
        create(&*pool, "deleted", "since").await;
        ring.heal(0);
        let backup = back_up(&ring, 1).await;
        settle(&pool).await;
        assert_eq!(ring.kept(0, "deleted").await.as_deref(), Some("since"));
        tokio::time::sleep(wait).await;
        settle(&pool).await;
        pool.delete(&key("deleted"), None).await.expect("a delete is acknowledged");
        tokio::time::sleep(wait).await;
        settle(&pool).await;
        restore(&ring, 1, backup).await;
        settle(&pool).await;
        // A line that is written from now on counts.
        ring.darken(0);
        create(&*pool, "kept", "after the backup was restored").await;
        ring.heal(0);
        for look in 0..10 {
            settle(&pool).await;
            assert_eq!(read(&*pool, "deleted").await, NOT_FOUND, "{wait:?}, look {look}");
            assert_eq!(ring.kept(0, "deleted").await, None, "it is not copied back");
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        assert_eq!(list(&*pool).await, Ok(vec!["kept".to_owned()]));
        for member in [0, 1] {
            let kept = ring.kept(member, "kept").await;
            assert_eq!(kept.as_deref(), Some("after the backup was restored"), "{member}");
            assert_eq!(ring.kept(member, "deleted").await, None, "{member}");
        }
        let records = ring.names(1, RECORDS).await;
        let has = |part: &str| records.iter().any(|name| name.contains(part));
        // A tombstone that is known still has it removed; else nothing is dropped.
        assert_eq!(has("/quarantine/"), wait > GRACE, "{records:?}");
        assert!(!has("/now/restored/"), "the member has been compared: {records:?}");
        // What came back with the backup is gone: another replica does not take it for new.
        drop(pool);
        let pool = ring.replica();
        settle(&pool).await;
        assert_eq!(list(&*pool).await, Ok(vec!["kept".to_owned()]));
    }
}
