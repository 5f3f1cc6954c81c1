//! Every backend against the contract, and planted bugs against the suite.

use std::sync::Arc;

use proof_storage::backend::conformance;
use proof_storage::backend::memory::Memory;

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    conformance::run(async || Arc::new(Memory::new()) as _).await;
}
