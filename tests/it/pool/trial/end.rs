//! The end of a history: everything is healed, and all must be as the reference says.

use proof_storage::model::PoolMode;
use proof_storage::pool::Reconcile;

use super::super::ring::{NAMESPACE, read};
use super::{KEYS, Trial};

impl Trial {
    /// Heals and repairs everything, and compares all members with what was promised.
    pub async fn conclude(&mut self) -> Result<(), String> {
        self.land().await;
        for member in std::mem::take(&mut self.dark) {
            self.ring.heal(member);
        }
        // Scripted losses that nobody met must not strike now.
        for member in &self.ring.members {
            member.inner().clear_script();
        }
        self.losing.clear();
        self.note("everything is healed".to_owned());
        for _ in 0..3 {
            for replica in 0..self.replicas.len() {
                self.settle(replica).await;
            }
            self.rest().await;
        }
        let how = Reconcile { verify_bytes: true, dry_run: false };
        let report = self.replicas[0].pool.reconcile(how).await;
        let report = report.map_err(|error| format!("{error:?}"))?;
        if report.failed > 0 {
            return Err(format!("reconcile leaves something: {report:?}"));
        }
        self.corrupt.clear();
        for replica in 0..self.replicas.len() {
            self.settle(replica).await;
        }
        for replica in 0..self.replicas.len() {
            self.check_all(replica).await?;
            let status = self.replicas[replica].pool.status();
            if status.repairs_pending > 0 {
                return Err(format!("repairs are left: {status:?}"));
            }
        }
        self.replicas[0] = self.start(0);
        self.note("a new replica".to_owned());
        self.check_all(0).await?;
        self.check_members().await
    }

    async fn check_all(&mut self, replica: usize) -> Result<(), String> {
        for number in 0..KEYS {
            self.get_by(replica, &format!("k{number}")).await?;
        }
        self.list_by(replica).await
    }

    async fn check_members(&mut self) -> Result<(), String> {
        for name in (0..KEYS).map(|number| format!("k{number}")) {
            let served = read(&*self.replicas[0].pool, &name).await.ok();
            for member in 0..self.course.members {
                let kept = self.ring.kept(member, &name).await;
                let is_home = member == 0 || self.course.mode == PoolMode::Mirror;
                let wanted = served.clone().filter(|_| is_home);
                if kept != wanted {
                    return Err(format!(
                        "{NAMESPACE}{name} on m{member} is {kept:?} and should be {wanted:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
