//! From a data directory to an open engine: check, mend, replay, compare, and say what was lost.

use super::batch::Counters;
use super::directory::Directory;
use super::engine::Engine;
use super::errors::fence;
use super::open_error::OpenError;
use super::record::Header;
use super::witness::{Witness, WitnessFile};
use super::{Options, journal, shadow};
use crate::model::{ObjectKey, StoreError};

/// What opening a directory gives.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) counters: Counters,
    /// Bodies of uploads that never finished.
    pub(super) uploads: Vec<u64>,
    /// One text for each damage.
    pub(super) damage: Vec<String>,
    pub(super) witness: WitnessFile,
}

/// Opens the engine of a directory.
pub(super) fn open(directory: &Directory, options: &Options) -> Result<Opened, OpenError> {
    let at_root = |cause| OpenError::io(directory.root(), cause);
    let broken = |damage: &[String], cause: StoreError| {
        let mut found = damage.to_vec();
        found.extend(shadow::diagnose(&directory.engine()));
        found.push(format!("{cause:?}"));
        OpenError::Damaged { path: directory.root().to_owned(), detail: found.join("; ") }
    };
    let mut damage = Vec::new();
    let witness_file = WitnessFile::new(directory.root(), directory.salt());
    let witness = witness_file.read().map_err(at_root)?.unwrap_or_else(|| {
        damage
            .push("WITNESS: damaged, so the loss of the last commits would not be noticed".into());
        Witness::default()
    });
    if witness.epoch > 0 && !witness.clean {
        tracing::info!("the store was not closed cleanly, its journal is replayed");
    }
    let is_new = directory.prepare_engine().map_err(at_root)?;
    if !is_new {
        let mended =
            shadow::mend(&directory.engine(), &directory.shadow(), &directory.quarantine());
        damage.extend(mended.map_err(at_root)?);
    }
    let report = journal::guard(
        &directory.engine(),
        &directory.quarantine(),
        directory.salt(),
        witness.sequence,
    )
    .map_err(at_root)?;
    damage.extend(report.damage);
    let engine = fence(|| Engine::open(&directory.engine(), options.cache_bytes, directory.salt()))
        .map_err(|cause| broken(&damage, cause))?;
    let expected = witness.sequence.max(report.last_sequence.unwrap_or(0));
    let recovered =
        engine.recover((witness.epoch, expected)).map_err(|cause| broken(&damage, cause))?;
    let found = recovered.found;
    if let Some(cause) = recovered.unreadable {
        damage.push(format!("the counters are damaged and are counted anew: {cause}"));
    } else if found < expected {
        damage.push(format!("acknowledged commits {} to {expected} are missing", found + 1));
    }
    let mut counters = recovered.counters;
    if !damage.is_empty() {
        counters = recount(&engine, counters, &mut damage);
    }
    engine.begin(counters).map_err(|cause| broken(&damage, cause))?;
    counters.synced = counters.sequence;
    witness_file
        .write(Witness { sequence: counters.sequence, epoch: counters.epoch, clean: false })
        .map_err(at_root)?;
    for text in &damage {
        tracing::error!(damage = text, "the store was found damaged");
    }
    Ok(Opened { engine, counters, uploads: recovered.uploads, damage, witness: witness_file })
}

/// The counters by walking every record, after damage that may have made them wrong.
pub(super) fn recount(engine: &Engine, before: Counters, damage: &mut Vec<String>) -> Counters {
    let mut counters = Counters { objects: 0, bytes: 0, stored_bytes: 0, ..before };
    let mut damaged = 0_u64;
    let walked = fence(|| {
        for row in engine.meta.iter() {
            let (key, row) = row.into_inner()?;
            let key = ObjectKey::new(String::from_utf8_lossy(&key).into_owned());
            match Header::decode(&key, &row) {
                Ok(header) => {
                    counters.objects += 1;
                    counters.bytes += header.size;
                    counters.stored_bytes += header.body.bytes;
                }
                Err(_) => {
                    // What is told to whoever asks for health names no key.
                    tracing::error!(%key, "the record of a proof is damaged");
                    damaged += 1;
                }
            }
        }
        Ok(())
    });
    if damaged > 0 {
        damage.push(format!("records of proofs that are damaged: {damaged}; the log names them"));
    }
    if let Err(cause) = walked {
        damage.push(format!("not every record can be read, the counters are estimates: {cause:?}"));
    }
    counters
}
