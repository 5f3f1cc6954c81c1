//! A memory cap: a control group of version 1 or 2, whichever this machine has.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::Result;

/// A group with a memory limit. Removed on drop, once its processes are gone.
#[derive(Debug)]
pub(crate) struct MemoryCap {
    folder: PathBuf,
}

impl MemoryCap {
    /// Makes a group, swap excluded where the machine can.
    ///
    /// # Errors
    /// Neither version can be used here; the text says why.
    pub(crate) fn new(name: &str, bytes: u64) -> Result<Self> {
        let name = format!("prove-{}-{name}", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup/memory");
        if v1.join("memory.limit_in_bytes").exists() {
            let cap = Self::create(v1.join(name))?;
            std::fs::write(cap.folder.join("memory.limit_in_bytes"), bytes.to_string())?;
            // Only where swap is accounted; without swap there is nothing to exclude.
            let _ =
                std::fs::write(cap.folder.join("memory.memsw.limit_in_bytes"), bytes.to_string());
            return Ok(cap);
        }
        let v2 = Path::new("/sys/fs/cgroup");
        let controllers = std::fs::read_to_string(v2.join("cgroup.subtree_control"));
        if controllers.is_ok_and(|c| c.split_whitespace().any(|word| word == "memory")) {
            let cap = Self::create(v2.join(name))?;
            std::fs::write(cap.folder.join("memory.max"), bytes.to_string())?;
            let _ = std::fs::write(cap.folder.join("memory.swap.max"), "0");
            return Ok(cap);
        }
        Err("no memory control group, neither version 1 nor 2".into())
    }

    /// Words before a command that put it into the group before it starts.
    pub(crate) fn wrapper(&self) -> Vec<String> {
        let procs = self.folder.join("cgroup.procs");
        let script = format!("echo $$ > '{}' && exec \"$@\"", procs.display());
        ["sh", "-c", &script, "sh"].map(str::to_owned).into()
    }

    fn create(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self { folder })
    }
}

impl Drop for MemoryCap {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("prove: {} is left behind", self.folder.display());
    }
}
