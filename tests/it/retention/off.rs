//! A service without holds: it pays nothing for them, and forgets none of earlier times.

use std::sync::Arc;

use proof_storage::backend::Backend;
use proof_storage::backend::memory::Memory;
use proof_storage::model::{ErrorKind, Retention};
use proof_storage::vault::{Condition, Holds};

use super::{Kept, Setup};

const HOLD: Retention = Retention { until: None, legal_hold: true, stored: None };

fn kept(store: &Arc<dyn Backend>, holds: &Holds) -> Kept {
    Kept::over(Arc::clone(store), Setup { holds: holds.clone(), ..Setup::default() })
}

#[tokio::test]
async fn holds_that_are_off_are_refused_and_nothing_is_looked_at() {
    let store: Arc<dyn Backend> = Arc::new(Memory::new());
    let holds = Holds::unless_marked();
    holds.clone().settle(Arc::clone(&store)).await;
    assert!(!holds.may_be() && !holds.can_be_set());
    let off = kept(&store, &holds);
    let refused = off.store("a", "x", HOLD, Condition::None).await.unwrap_err();
    assert_eq!(refused.store_kind(), Some(ErrorKind::Unsupported));
    assert!(refused.to_string().contains("STORAGE_HOLDS=on"), "{refused}");
    off.store("a", "x", Retention::default(), Condition::None).await.unwrap();

    // By another replica, against the documentation: that it goes shows that nobody looked.
    let on = kept(&store, &Holds::on());
    on.store("b", "x", HOLD, Condition::None).await.unwrap();
    for name in ["a", "b"] {
        off.vault.delete(&off.key(name), None).await.unwrap();
        assert_eq!(off.read(name).await, None);
    }
}

#[tokio::test]
async fn what_was_held_earlier_stays_held() {
    let store: Arc<dyn Backend> = Arc::new(Memory::new());
    kept(&store, &Holds::on()).store("a", "x", HOLD, Condition::None).await.unwrap();
    let holds = Holds::unless_marked();
    let later = kept(&store, &holds);
    // Before anybody knows, and after.
    for known in [false, true] {
        assert_eq!((holds.may_be(), holds.can_be_set()), (true, known));
        let refused = later.vault.delete(&later.key("a"), None).await.unwrap_err();
        assert_eq!(refused.store_kind(), Some(ErrorKind::Retained), "{refused}");
        holds.clone().settle(Arc::clone(&store)).await;
    }
    later.store("b", "x", HOLD, Condition::None).await.unwrap();
}

#[tokio::test]
async fn only_a_hold_marks_the_store() {
    let store: Arc<dyn Backend> = Arc::new(Memory::new());
    let on = kept(&store, &Holds::on());
    on.store("a", "x", Retention::default(), Condition::None).await.unwrap();
    let look = || async {
        let holds = Holds::unless_marked();
        holds.clone().settle(Arc::clone(&store)).await;
        holds.may_be()
    };
    assert!(!look().await);
    on.store("b", "x", HOLD, Condition::None).await.unwrap();
    assert!(look().await);
}
