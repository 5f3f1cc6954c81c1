//! Deletes: idempotent, conditional, and many at once.

use super::fixture::{
    Store, accept, available, expect, expect_absent, key, noise, put, put_all, refuse,
};
use crate::model::{ETag, ErrorKind, ObjectKey};

pub(super) async fn is_idempotent(store: Store) {
    let (key, large) = (key("proofs/a"), noise(1, 2_000_000));
    let rule = "a delete of what never was is no error and deletes nothing";
    assert_ne!(accept(store.delete(&key, None).await, rule), Some(true), "{rule}");
    put(&store, &key, &large).await;
    let rule = "a delete of an object says so";
    assert_ne!(accept(store.delete(&key, None).await, rule), Some(false), "{rule}");
    expect_absent(&store, &key, "a deleted object is gone").await;
    let rule = "a second delete finds nothing";
    assert_ne!(accept(store.delete(&key, None).await, rule), Some(true), "{rule}");
}

pub(super) async fn if_match_spares_other_versions(store: Store) {
    let (key, bytes) = (key("proofs/a"), noise(1, 100));
    let old = put(&store, &key, &noise(2, 100)).await.meta.etag;
    let new = put(&store, &key, &bytes).await.meta.etag;
    let support = store.capabilities().delete_if_match;
    let tried = store.delete(&key, Some(&old)).await;
    if !available(support, "delete_if_match", tried.clone()) {
        expect(&store, &key, &bytes, "a refused delete deletes nothing").await;
        return;
    }
    let rule = "a delete of another version is refused";
    refuse(tried, ErrorKind::PreconditionFailed, rule);
    let made_up = ETag::new("no-such-version");
    refuse(store.delete(&key, Some(&made_up)).await, ErrorKind::PreconditionFailed, rule);
    expect(&store, &key, &bytes, "a refused delete deletes nothing").await;
    let rule = "a delete of the present version succeeds";
    assert_ne!(accept(store.delete(&key, Some(&new)).await, rule), Some(false), "{rule}");
    expect_absent(&store, &key, "a deleted object is gone").await;
    let rule = "a conditional delete of a missing object is no error";
    assert_ne!(accept(store.delete(&key, Some(&new)).await, rule), Some(true), "{rule}");
}

pub(super) async fn many_answers_in_order(store: Store) {
    let keep = key("proofs/keep");
    put(&store, &keep, &noise(1, 10)).await;
    let here: Vec<ObjectKey> = (0..6).map(|i| key(format!("proofs/{i}"))).collect();
    for key in &here {
        put(&store, key, &noise(2, 300_000)).await;
    }
    let asked = [
        here[5].clone(),
        key("none/1"),
        here[0].clone(),
        here[5].clone(),
        here[3].clone(),
        key("none/1"),
        here[0].clone(),
    ];
    let answers = store.delete_many(&asked).await;
    let answers: Vec<Option<bool>> =
        answers.into_iter().map(|answer| accept(answer, "each delete succeeds")).collect();
    let wanted = [true, false, true, false, true, false, false];
    let fits = answers.iter().zip(wanted).all(|(said, wanted)| said.is_none_or(|it| it == wanted));
    let rule = "one answer for each key, in the order asked, repeats included";
    assert!(answers.len() == wanted.len() && fits, "{rule}: {answers:?}");
    for key in [&here[0], &here[3], &here[5]] {
        expect_absent(&store, key, "a deleted object is gone").await;
    }
    for key in [&here[1], &here[2], &here[4]] {
        expect(&store, key, &noise(2, 300_000), "what was not named stays").await;
    }
    expect(&store, &keep, &noise(1, 10), "what was not named stays").await;
    assert!(store.delete_many(&[]).await.is_empty(), "no key, no answer");
}

pub(super) async fn many_handles_thousands(store: Store) {
    const COUNT: usize = 2_500;
    let keys: Vec<ObjectKey> = (0..COUNT).map(|i| key(format!("proofs/{i:05}"))).collect();
    put_all(&store, keys.iter().step_by(10).map(ObjectKey::as_str)).await;
    let answers = store.delete_many(&keys).await;
    assert_eq!(answers.len(), COUNT, "one answer for each key");
    for (index, answer) in answers.into_iter().enumerate() {
        let deleted = accept(answer, "each delete succeeds");
        let wanted = index % 10 == 0;
        let rule = "answers are in the order asked";
        assert_ne!(deleted, Some(!wanted), "{rule}, at {index}");
    }
    for key in keys.iter().step_by(10) {
        expect_absent(&store, key, "a deleted object is gone").await;
    }
}

pub(super) async fn key_can_be_used_again(store: Store) {
    let key = key("proofs/a");
    let mut last = None;
    for round in 0..3 {
        let bytes = noise(round, 1_048_577);
        let stored = put(&store, &key, &bytes).await;
        assert_ne!(stored.replaced, Some(true), "after a delete a write replaces nothing");
        let meta = expect(&store, &key, &bytes, "a deleted key can be used again").await;
        assert_ne!(last, Some(meta.etag.clone()), "the new object is another version");
        last = Some(meta.etag);
        accept(store.delete(&key, None).await, "a delete succeeds");
        expect_absent(&store, &key, "a deleted object is gone").await;
    }
}
