//! Moving what is not held, onto what is not held.

use super::{Retained, Unchecked, Want};
use crate::model::{ObjectKey, PutMode, StoreError, Stored};
use crate::vault::sight::Sight;

impl Retained {
    /// Moves a proof, and tells of what is moved.
    ///
    /// # Errors
    /// As [`Backend::rename`](crate::backend::Backend::rename), or `Retained`.
    pub async fn rename_in_sight(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
        sight: &Sight,
    ) -> Result<Stored, StoreError> {
        if self.is_off() || source == destination {
            return self.sealed.rename_in_sight(source, destination, mode, sight).await;
        }
        let want = self.want(destination, None);
        let (this, source, destination) = (self.clone(), source.clone(), destination.clone());
        let sight = sight.clone();
        self.to_the_end(async move {
            let both = [(&source, Want::Shared), (&destination, want)];
            let _turn = this.turns.of(both).await;
            if this.free_in_sight(&source, Unchecked::MoveSource, &sight).await?.is_none() {
                // Missing or damaged: told before anything is said of the destination.
                this.sealed.below().head(&source).await?;
            }
            if mode != PutMode::Create {
                this.free(&destination, Unchecked::MoveOnto).await?;
            }
            this.sealed.rename_in_sight(&source, &destination, mode, &sight).await
        })
        .await
    }
}
