//! Row 3, to come.
use super::{Context, Outcome};
use crate::Result;
#[derive(Debug, clap::Args)]
pub(crate) struct SweepArguments {}
pub(crate) fn sweep(_: &SweepArguments) -> Result<()> {
    Ok(())
}
pub(crate) fn run(_: &Context) -> Result<Outcome> {
    Ok(Outcome::broken("not written yet"))
}
