//! Who holds the bucket and no key can take proofs away, and never put other ones in their place.

use std::sync::Arc;

use bytes::Bytes;
use proof_storage::backend::Backend;
use proof_storage::model::{
    Attributes, Digest, GetOptions, ObjectKey, PoolMode, PutMode, Representation,
};
use proof_storage::pool::{Pool, PoolPolicy};

use super::{memory, service};
use crate::http::pool::members;

const FRAME: usize = 64 * 1024;
const SEALED: usize = FRAME + 16;

async fn raw(store: &Arc<dyn Backend>, name: &str) -> (Attributes, Bytes) {
    let found = store.get(&ObjectKey::new(name), GetOptions::default()).await.unwrap();
    (found.meta.attributes, found.body.collect().await.unwrap())
}

/// Puts bytes in the place of others, with a digest that fits: nothing below the vault objects.
async fn plant(store: &Arc<dyn Backend>, name: &str, attributes: &Attributes, bytes: &[u8]) {
    let mut attributes = attributes.clone();
    let sha256 = Digest::of(bytes);
    let size = attributes.representation.unwrap().size;
    attributes.representation = Some(Representation { sha256, size, stored_sha256: sha256 });
    let bytes = Bytes::copy_from_slice(bytes);
    let key = ObjectKey::new(name);
    store.put(&key, bytes.into(), attributes, PutMode::Overwrite).await.unwrap();
}

#[tokio::test]
async fn no_bytes_but_those_that_were_sealed_are_ever_sent() {
    let store = memory();
    let client = service(&store, "2026 2025", true).await;
    // More than is verified before the status line.
    let frames = 20;
    let body: Vec<u8> = (0..frames * FRAME).map(|n| (n * 31 % 253) as u8).collect();
    client.put("/v1/proofs/a.bin", body.clone()).await;
    client.put("/v1/proofs/b.bin", [&body[1..], b"x"].concat()).await;
    let (said, sealed) = raw(&store, "proofs/a.bin").await;
    let (said_of_other, other) = raw(&store, "proofs/b.bin").await;
    let header = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut header = said.envelope.clone().unwrap().to_vec();
        change(&mut header);
        Attributes { envelope: Some(header.into()), ..said.clone() }
    };
    let frame = |number: usize| &sealed[number * SEALED..(number + 1) * SEALED];
    let swapped = [frame(1), frame(0), &sealed[2 * SEALED..]].concat();
    let mut flipped = sealed.to_vec();
    flipped[5 * SEALED + 9] ^= 1;
    let mut tag = sealed.to_vec();
    tag[6 * SEALED - 1] ^= 1;
    let dropped = [&sealed[..3 * SEALED], &sealed[4 * SEALED..]].concat();
    let others_frame = [&other[..SEALED], &sealed[SEALED..]].concat();
    let cases: &[(&str, Attributes, &[u8])] = &[
        ("frames swapped", said.clone(), &swapped),
        ("frame dropped", said.clone(), &dropped),
        ("cut at a frame", said.clone(), &sealed[..19 * SEALED]),
        ("cut to one frame", said.clone(), &sealed[..SEALED]),
        ("cut to nothing", said.clone(), &[]),
        ("frame added", said.clone(), &[&sealed[..], frame(19)].concat()),
        ("byte added", said.clone(), &[&sealed[..], b"\0"].concat()),
        ("bit of the text", said.clone(), &flipped),
        ("bit of a tag", said.clone(), &tag),
        ("another's frame", said.clone(), &others_frame),
        ("another's body", said.clone(), &other),
        (
            "another's header",
            Attributes { envelope: said_of_other.envelope.clone(), ..said.clone() },
            &sealed,
        ),
        ("another's both", said_of_other.clone(), &other),
        ("other id", header(&|h| h[5..9].copy_from_slice(b"2025")), &sealed),
        ("unknown id", header(&|h| h[5..9].copy_from_slice(b"2024")), &sealed),
        ("salt", header(&|h| h[20] ^= 1), &sealed),
        ("commitment", header(&|h| h[50] ^= 1), &sealed),
        ("wrapped key", header(&|h| h[80] ^= 1), &sealed),
        ("cut header", header(&|h| h.truncate(100)), &sealed),
        ("later version", header(&|h| h[3] = 2), &sealed),
        ("no header", Attributes { envelope: Some(Bytes::new()), ..said.clone() }, &sealed),
    ];
    for (what, attributes, bytes) in cases {
        plant(&store, "proofs/a.bin", attributes, bytes).await;
        let found = client.get("/v1/proofs/a.bin").await;
        if found.status == 200 {
            assert!(found.broken, "{what}: never a clean end");
            assert!(found.body.len() < body.len() && body.starts_with(&found.body), "{what}");
        } else {
            assert_eq!(found.status, 502, "{what}");
            let code = found.problem();
            let missing = ["unknown id", "later version"].contains(what);
            assert_eq!(code, if missing { "KEY_MISSING" } else { "CORRUPT" }, "{what}");
        }
    }
    // The control: put back as it was, it is sent.
    plant(&store, "proofs/a.bin", &said, &sealed).await;
    assert!(client.get("/v1/proofs/a.bin").await.body == body);
}

/// The pool compares sealed bytes by their own digest, and needs no key for it.
#[tokio::test]
async fn a_pool_passes_over_damage_and_mends_it() {
    let ([far, near], setups) = members(["far", "near"]);
    let policy = PoolPolicy::new(PoolMode::Mirror, 2, "proofs/", std::env::temp_dir());
    let pool = Pool::new(setups, policy);
    let over: Arc<dyn Backend> = pool.clone();
    let client = service(&over, "2026", true).await;
    let body = "a proof of some length ".repeat(1000);
    assert_eq!(client.put("/v1/proofs/a.bin", body.clone()).await.status, 201);
    let stores: [Arc<dyn Backend>; 2] = [far, near];
    let (said, sealed) = raw(&stores[0], "proofs/a.bin").await;
    assert!(said.envelope.is_some());
    assert_eq!(
        raw(&stores[1], "proofs/a.bin").await,
        (said.clone(), sealed.clone()),
        "one sealing"
    );
    for store in &stores {
        let mut wrong = sealed.to_vec();
        wrong[100] ^= 1;
        let key = ObjectKey::new("proofs/a.bin");
        let wrong = Bytes::from(wrong).into();
        store.put(&key, wrong, said.clone(), PutMode::Overwrite).await.unwrap();
        for _ in 0..3 {
            assert_eq!(client.get("/v1/proofs/a.bin").await.body, body);
        }
        let how = proof_storage::pool::Reconcile { dry_run: false, verify_bytes: true };
        pool.reconcile(how).await.unwrap();
        assert_eq!(raw(store, "proofs/a.bin").await.1, sealed, "mended");
    }
}
