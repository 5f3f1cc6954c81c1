//! Second copies of the few bytes without which a whole tree cannot be opened.
//!
//! The engine checks data when it is read, so a damaged block costs its rows only. But it trusts
//! manifests, indexes and file footers when it opens, and one flipped bit there can refuse the
//! store or, worse, make it ask for absurd amounts of memory. So those parts, about a hundredth
//! of the data, are copied aside whenever a tree has changed ([`Shadow::refresh`], at every opening
//! and then about once a second, off the path of the answers), and put back before the next
//! opening where they differ ([`mend`]). A file is only mended if it then has the very checksum
//! that its manifest names, so a stale copy can do no harm.
//!
//! Damage to a file that is younger than its copy would have been is not mended; if the engine
//! then refuses to open, [`diagnose`] names the file.

mod copy;
mod manifest;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::copy::Copy;
use self::manifest::{CURRENT_BYTES, Current, Manifest};
use super::directory::write_durably;

/// Trees: the engine's own, and the four spaces.
const TREES: std::ops::RangeInclusive<u64> = 0..=4;
/// What the engine's version marker always is.
const ENGINE_VERSION: &[u8] = b"FJL\x03";

/// Keeps the copies up to date.
#[derive(Debug)]
pub(super) struct Shadow {
    engine: PathBuf,
    folder: PathBuf,
    /// `current` of each tree when its copies were last brought up to date.
    seen: HashMap<u64, Vec<u8>>,
}

impl Shadow {
    pub(super) fn new(engine: PathBuf, folder: PathBuf) -> Self {
        Self { engine, folder, seen: HashMap::new() }
    }

    /// Copies what has changed since the last time.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        for tree in TREES {
            let root = tree_root(&self.engine, tree);
            let Ok(current) = fs::read(root.join("current")) else {
                continue;
            };
            if self.seen.get(&tree) == Some(&current) {
                continue;
            }
            self.refresh_tree(tree, &root, &current)?;
            self.seen.insert(tree, current);
        }
        Ok(())
    }

    fn refresh_tree(&self, tree: u64, root: &Path, current: &[u8]) -> io::Result<()> {
        let folder = self.folder.join(tree.to_string());
        fs::create_dir_all(&folder)?;
        let mut wanted = vec![String::from("current")];
        let Some(pointer) = Current::parse(current) else {
            return Ok(());
        };
        let version = pointer.file_name();
        // The engine may be a version further already; the next round sees to that.
        let Ok(bytes) = fs::read(root.join(&version)) else {
            return Ok(());
        };
        let Some(manifest) = Manifest::parse(&root.join(&version)) else {
            return Ok(());
        };
        for (kind, id, _) in manifest.files() {
            let name = kind.copy_name(id);
            let target = folder.join(&name);
            if !target.exists()
                && let Ok(copy) = Copy::of_end(&kind.path(root, id))
            {
                copy.write(&target)?;
            }
            wanted.push(name);
        }
        Copy::whole(bytes).write(&folder.join(&version))?;
        Copy::whole(current.to_vec()).write(&folder.join("current"))?;
        wanted.push(version);
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !wanted.iter().any(|name| entry.file_name() == name.as_str()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Puts back what is damaged, before the engine opens. Says what was done.
pub(super) fn mend(engine: &Path, folder: &Path, quarantine: &Path) -> io::Result<Vec<String>> {
    let mut mending = Mending { engine, folder, quarantine, done: Vec::new() };
    let marker = engine.join("version");
    if !fs::read(&marker).is_ok_and(|bytes| bytes == ENGINE_VERSION) {
        mending.replace(&marker, ENGINE_VERSION)?;
    }
    for tree in TREES {
        let root = tree_root(engine, tree);
        if root.is_dir() {
            mending.tree(tree, &root)?;
        }
    }
    Ok(mending.done)
}

/// Names every file of a store that is not what it should be. Reads all of it.
pub(super) fn diagnose(engine: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for tree in TREES {
        let root = tree_root(engine, tree);
        if !root.is_dir() {
            continue;
        }
        let pointer = root.join("current");
        let Some(current) = fs::read(&pointer).ok().and_then(|bytes| Current::parse(&bytes)) else {
            found.push(format!("{} is damaged", shown(engine, &pointer)));
            continue;
        };
        let version = root.join(current.file_name());
        let sound = fs::read(&version).is_ok_and(|bytes| current.is_of(&bytes));
        let Some(manifest) = Manifest::parse(&version).filter(|_| sound) else {
            let (version, pointer) = (shown(engine, &version), shown(engine, &pointer));
            found.push(format!("{version} is damaged, or {pointer} that vouches for it"));
            continue;
        };
        for (kind, id, checksum) in manifest.files() {
            let path = kind.path(&root, id);
            match copy::checksum(&path) {
                Ok(sum) if sum == checksum => {}
                Ok(_) => found.push(format!("{} is damaged", shown(engine, &path))),
                Err(cause) => found.push(format!("{}: {cause}", shown(engine, &path))),
            }
        }
    }
    found
}

struct Mending<'a> {
    engine: &'a Path,
    folder: &'a Path,
    quarantine: &'a Path,
    done: Vec<String>,
}

impl Mending<'_> {
    fn tree(&mut self, tree: u64, root: &Path) -> io::Result<()> {
        let folder = self.folder.join(tree.to_string());
        let Some(version) = self.manifest(root, &folder)? else {
            return Ok(());
        };
        let Some(manifest) = Manifest::parse(&version) else {
            return Ok(());
        };
        for (kind, id, checksum) in manifest.files() {
            let Some(copy) = Copy::read(&folder.join(kind.copy_name(id))) else {
                continue;
            };
            let path = kind.path(root, id);
            if copy.matches(&path)? {
                continue;
            }
            // Only if the file is then what the manifest says it is: the copy may be an older
            // file's of the same number, or the damage may be elsewhere too.
            if let Some(bytes) = copy.applied_to(&path, checksum)? {
                self.replace(&path, &bytes)?;
            } else {
                let path = shown(self.engine, &path);
                self.done.push(format!("{path}: damaged, and not to be mended"));
            }
        }
        Ok(())
    }

    /// Finds the manifest in force, and mends it or the file that points to it.
    fn manifest(&mut self, root: &Path, folder: &Path) -> io::Result<Option<PathBuf>> {
        let pointer_path = root.join("current");
        let pointer = fs::read(&pointer_path).unwrap_or_default();
        let known = Copy::read(&folder.join("current")).map(Copy::into_bytes);
        let stated = Current::parse(&pointer);
        if let Some(current) = &stated {
            let version = root.join(current.file_name());
            if fs::read(&version).is_ok_and(|bytes| current.is_of(&bytes)) {
                return Ok(Some(version));
            }
            // The pointer is right and the manifest is not.
            let copy = Copy::read(&folder.join(current.file_name())).map(Copy::into_bytes);
            if let Some(copy) = copy.filter(|copy| current.is_of(copy)) {
                self.replace(&version, &copy)?;
                return Ok(Some(version));
            }
        }
        // The pointer is damaged: the copy may stand in only if no newer manifest is there.
        let Some(current) = known.as_deref().and_then(Current::parse) else {
            return Ok(None);
        };
        let version = root.join(current.file_name());
        let newest = manifest::newest(root)?;
        let usable = newest == Some(current.id())
            && fs::read(&version).is_ok_and(|bytes| current.is_of(&bytes));
        if let Some(known) = known.filter(|known| usable && known.len() == CURRENT_BYTES) {
            self.replace(&pointer_path, &known)?;
            return Ok(Some(version));
        }
        let path = shown(self.engine, &pointer_path);
        self.done.push(format!("{path}: damaged, and not to be mended"));
        Ok(None)
    }

    /// Writes the right bytes; the damaged ones are kept.
    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(self.quarantine)?;
        let name = shown(self.engine, path);
        if path.exists() {
            fs::copy(path, self.quarantine.join(name.replace('/', "-")))?;
        }
        write_durably(path, bytes)?;
        self.done.push(format!("{name}: was damaged and is mended; nothing is lost"));
        Ok(())
    }
}

/// A file's path below the data directory.
fn shown(engine: &Path, path: &Path) -> String {
    let below = engine.parent().and_then(|root| path.strip_prefix(root).ok());
    below.unwrap_or(path).to_string_lossy().into_owned()
}

fn tree_root(engine: &Path, tree: u64) -> PathBuf {
    engine.join("keyspaces").join(tree.to_string())
}
