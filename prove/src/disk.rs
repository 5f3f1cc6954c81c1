//! Disks to hurt: an ext4 image on a loop device, or a small tmpfs.
//!
//! Guards undo everything on drop, in the right order: unmount, detach, delete. Needs root and,
//! for images, loop devices ([`missing`] says what is not there).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::Result;
use crate::server::{has_program, run};

/// Cuts the power of a mounted ext4: see the script.
const SHUTDOWN: &str = include_str!("shutdown.py");

/// What this machine lacks for mounting images, if anything.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".into());
    }
    let absent = ["losetup", "mkfs.ext4", "mount", "umount", "python3"]
        .into_iter()
        .find(|program| !has_program(program));
    if let Some(program) = absent {
        return Some(format!("no {program}"));
    }
    (!Path::new("/dev/loop-control").exists()).then(|| "no loop devices".into())
}

/// Variable that says that the harness has a mount namespace of its own.
const OWN_NAMESPACE: &str = "PROVE_OWN_MOUNTS";

/// Starts this program again in a mount namespace of its own, where it may make one.
///
/// Mounts are then seen by nobody else (a container that starts meanwhile would hold copies of
/// them), and end with the harness even if it is killed.
pub(crate) fn hide_mounts() {
    let own = std::env::current_exe();
    if std::env::var_os(OWN_NAMESPACE).is_some() || missing().is_some() {
        return;
    }
    let words = ["--mount", "--propagation", "private"];
    if let (Ok(own), Ok(_)) = (own, run("unshare", &[&words[..], &["true"]].concat())) {
        let mut again = Command::new("unshare");
        again.args(words).arg(own).args(std::env::args_os().skip(1)).env(OWN_NAMESPACE, "1");
        eprintln!("prove: {}: going on without", again.exec());
    }
}

/// A mounted file system of a fixed size.
#[derive(Debug)]
pub(crate) struct Disk {
    mount_point: PathBuf,
    mounted: bool,
    /// Image and device; absent for a tmpfs.
    image: Option<(PathBuf, String)>,
}

impl Disk {
    /// A new ext4 image on a loop device, mounted below a folder.
    ///
    /// # Errors
    /// A step failed; what was done is undone.
    pub(crate) fn ext4(folder: &Path, name: &str, mebibytes: u64) -> Result<Self> {
        let path = folder.join(format!("{name}.img"));
        std::fs::File::create(&path)?.set_len(mebibytes << 20)?;
        let text = path.to_str().ok_or("the work folder's name is not UTF-8")?;
        run("mkfs.ext4", &["-q", "-F", text])?;
        let device = run("losetup", &["--find", "--show", text])?;
        let mount_point = folder.join(name);
        let mut disk =
            Self { mount_point: mount_point.clone(), mounted: false, image: Some((path, device)) };
        std::fs::create_dir_all(mount_point)?;
        disk.mount()?;
        Ok(disk)
    }

    /// A tmpfs, mounted below a folder.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub(crate) fn tmpfs(folder: &Path, name: &str, mebibytes: u64) -> Result<Self> {
        let mount_point = folder.join(name);
        std::fs::create_dir_all(&mount_point)?;
        let size = format!("size={mebibytes}m");
        run("mount", &["-t", "tmpfs", "-o", &size, "prove", text(&mount_point)?])?;
        Ok(Self { mount_point, mounted: true, image: None })
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Mounts an image again; ext4 replays its journal, as after a power cut.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub(crate) fn mount(&mut self) -> Result<()> {
        let (_, device) = self.image.as_ref().ok_or("a tmpfs does not come back")?;
        run("mount", &[device, text(&self.mount_point)?])?;
        self.mounted = true;
        // A copy of the mount in another namespace keeps a file system that was shut down alive,
        // and then it is not mounted anew: the machine's doing, and no finding.
        let trial = self.mount_point.join("alive");
        std::fs::write(&trial, b"alive")
            .and_then(|()| std::fs::remove_file(&trial))
            .map_err(|error| format!("the disk does not come back after its cut: {error}").into())
    }

    /// Unmounts. A process that was just killed may hold the disk a moment longer.
    ///
    /// # Errors
    /// It stays busy.
    pub(crate) fn unmount(&mut self) -> Result<()> {
        let mut last = Ok(String::new());
        for _ in 0..200 {
            last = run("umount", &[text(&self.mount_point)?]);
            if last.is_ok() {
                self.mounted = false;
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        last.map(drop)
    }

    /// Prepares a power cut, so that the cut itself takes no time.
    ///
    /// # Errors
    /// The script cannot be run.
    pub(crate) fn arm(&self) -> Result<Fuse> {
        let mut child = Command::new("python3")
            .args(["-c", SHUTDOWN, text(&self.mount_point)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let trigger = child.stdin.take().ok_or("no standard input")?;
        let mut said = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let fuse = Fuse { child, trigger: Some(trigger), said };
        if line.trim() == "armed" { Ok(fuse) } else { Err("the fuse cannot be armed".into()) }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut undone = Ok(());
        if self.mounted {
            undone = self.unmount();
        }
        if let Some((image, device)) = &self.image {
            undone = undone.and(run("losetup", &["--detach", device]).map(drop));
            undone = undone.and(std::fs::remove_file(image).map_err(Into::into));
        }
        undone = undone.and(std::fs::remove_dir(&self.mount_point).map_err(Into::into));
        if let Err(failure) = undone {
            eprintln!("prove: {} is left behind: {failure}", self.mount_point.display());
        }
    }
}

/// An armed power cut.
#[derive(Debug)]
pub(crate) struct Fuse {
    child: Child,
    trigger: Option<ChildStdin>,
    said: BufReader<std::process::ChildStdout>,
}

impl Fuse {
    /// Cuts the power now: nothing more reaches the disk, not even what is on its way.
    ///
    /// # Errors
    /// The file system refused.
    pub(crate) fn blow(mut self) -> Result<()> {
        let mut trigger = self.trigger.take().ok_or("the fuse was blown before")?;
        trigger.write_all(b"cut\n")?;
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        if line.trim() == "cut" { Ok(()) } else { Err("the power could not be cut".into()) }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        // The end of its input ends the script, and with it its hold on the disk.
        drop(self.trigger.take());
        if self.child.wait().is_err() {
            eprintln!("prove: the script that cuts the power could not be ended");
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| "the work folder's name is not UTF-8".into())
}
