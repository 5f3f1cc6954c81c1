//! What callers may say of how long a proof stays, and what they are shown of it.

use std::time::SystemTime;

use super::error::VaultError;
use super::{Change, Standing, Strength, Vault};
use crate::model::{Key, MAX_RETENTION, ObjectMeta, rfc3339_seconds as shown};

impl Vault {
    /// Checks a time until which a proof is to stay.
    ///
    /// # Errors
    /// `Invalid`: it is over, or too far ahead. The text says which of these, and has no name in front.
    pub fn check_until(&self, until: SystemTime) -> Result<(), VaultError> {
        let now = self.policy.holding.clock.now();
        if until <= now {
            let detail = format!("{} is not in the future: name a later time", shown(until));
            return Err(VaultError::Invalid(detail));
        }
        if until.duration_since(now).is_ok_and(|ahead| ahead > MAX_RETENTION) {
            let latest = now + MAX_RETENTION;
            let detail = format!(
                "{} is more than 100 years ahead, and could never be taken back: name no later time than {}",
                shown(until),
                shown(latest)
            );
            return Err(VaultError::Invalid(detail));
        }
        Ok(())
    }

    /// Checks that proofs can be held here.
    ///
    /// # Errors
    /// `Unsupported`, naming the setting.
    pub fn check_holds(&self) -> Result<(), VaultError> {
        Ok(self.backend.check_settable()?)
    }

    /// Changes what holds a proof; gives what holds it then.
    ///
    /// # Errors
    /// See [`super::Retained::retain`].
    pub async fn retain(&self, key: &Key, change: Change) -> Result<ObjectMeta, VaultError> {
        Ok(self.backend.retain(key.object(), change, None).await?)
    }

    /// What holds a proof, or held it.
    pub fn standing(&self, meta: &ObjectMeta) -> Option<Standing> {
        self.backend.standing(meta)
    }

    /// Who refuses to destroy what is held so.
    pub fn strength(&self, meta: &ObjectMeta, standing: Standing) -> Strength {
        standing.strength(meta.lock, self.policy.holding.clock.now())
    }
}
