//! A pool is a backend, and must keep the contract of one.

use std::sync::Arc;
use std::time::Duration;

use proof_storage::backend::conformance;
use proof_storage::layer::{Inventory, InventoryPolicy};
use proof_storage::model::PoolMode;

use super::ring::Ring;

async fn keeps_the_contract(mode: PoolMode, members: usize, dark: Option<usize>) {
    let rings = std::cell::RefCell::new(Vec::new());
    conformance::run(async || {
        let ring = Ring::new(mode, members);
        let pool = ring.replica();
        if let Some(member) = dark {
            // The replica has read what there is before the member goes dark.
            pool.round().await;
            ring.darken(member);
        }
        rings.borrow_mut().push(ring);
        let policy = InventoryPolicy::new("", Duration::from_secs(3600));
        let inventory = Inventory::new(pool as _, policy);
        inventory.take().await.expect("the pool can be counted");
        Arc::new(inventory) as _
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fallback_keeps_the_contract() {
    keeps_the_contract(PoolMode::Fallback, 2, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirror_keeps_the_contract() {
    keeps_the_contract(PoolMode::Mirror, 2, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirror_of_three_keeps_the_contract() {
    keeps_the_contract(PoolMode::Mirror, 3, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirror_with_a_dark_member_keeps_the_contract() {
    keeps_the_contract(PoolMode::Mirror, 2, Some(1)).await;
    keeps_the_contract(PoolMode::Mirror, 2, Some(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fallback_with_a_dark_fallback_keeps_the_contract() {
    keeps_the_contract(PoolMode::Fallback, 2, Some(1)).await;
}

/// Counted by the layer that counts for pools.
#[tokio::test(flavor = "multi_thread")]
async fn each_proof_is_counted_once() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let pool = ring.replica();
    for name in ["a", "b"] {
        super::ring::create(&*pool, name, "12345").await;
    }
    ring.darken(1);
    super::ring::create(&*pool, "c", "12345").await;
    ring.heal(1);
    let policy = InventoryPolicy::new(super::ring::NAMESPACE, Duration::from_secs(60));
    let inventory = Inventory::new(Arc::clone(&pool) as _, policy);
    let usage = inventory.take().await.expect("it is counted");
    assert_eq!((usage.objects, usage.stored_bytes), (3, 15));
}
