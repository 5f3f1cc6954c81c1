//! Object lock: what the bucket says of it. To try it would leave an object that nobody can remove.

use super::{Examination, Verdict};
use crate::model::{LockMode, Support};

impl Examination<'_> {
    pub(super) async fn object_lock(&mut self) {
        let (support, mut detail) = self.s3.lock_configuration().await;
        let verdict = match support {
            Support::Native => Verdict::Native,
            Support::Gateway | Support::No => Verdict::Gateway,
            Support::Unknown => {
                // To be asked again.
                self.doubt(None);
                Verdict::Unknown
            }
        };
        if verdict == Verdict::Native {
            let mode = match self.s3.shared.options.object_lock {
                LockMode::Governance => "what is held is locked in governance mode",
                LockMode::Compliance => "what is held is locked in compliance mode",
                LockMode::Off => "none is asked for (STORAGE_OBJECT_LOCK=off)",
            };
            detail = format!("{detail}: {mode}");
        }
        self.note("object-lock", verdict, detail);
    }
}
