//! The segment files of one log, and their folder's lock.
//!
//! A write that fails is taken back: the file is cut to its last good length, so that the next try
//! does not follow half a line.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::chain::{ChainKey, Head};
use super::entry::{Action, Entry};
use super::segment::{self, Segment};
use super::{Folder, Sync, recover};

const LOCK: &str = "lock";
const DAY_SECONDS: u64 = 86_400;

/// The files.
pub struct Files {
    folder: Folder,
    /// Held for as long as the log is open.
    _lock: File,
    segment: Segment,
    file: File,
    /// Bytes that are known to be good.
    length: u64,
    /// Day of its first line, since 1970.
    day: u64,
    /// What is behind `length` has to go first.
    torn: bool,
    /// Written, and not on disk yet.
    dirty: bool,
}

impl Files {
    /// Opens the folder and finds where the chain ends; gives what is to be said of it first.
    pub fn open(folder: Folder, key: Option<&ChainKey>) -> io::Result<(Self, Head, Vec<Entry>)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder.path)?;
        let lock = lock(&folder.path)?;
        let found = recover::recover(&folder.path, key)?;
        let mut said = found.said;
        let (segment, file, length) = match found.last {
            Some(last) => last,
            None => {
                let segment = Segment::of(&folder.path, 1);
                said.insert(0, begins(&segment));
                let file = segment.create(&folder.path)?;
                (segment, file, 0)
            }
        };
        let day = file.metadata()?.modified().map_or_else(|_| today(), day_of);
        let files =
            Self { folder, _lock: lock, segment, file, length, day, torn: false, dirty: false };
        Ok((files, found.head, said))
    }

    /// Begins the next segment where it is time; gives the line that it begins with.
    pub fn rotate(&mut self) -> io::Result<Option<Entry>> {
        let full = self.length >= self.folder.segment_bytes;
        let over = self.folder.daily && self.day != today();
        if self.length == 0 || !(full || over) {
            return Ok(None);
        }
        self.mend()?;
        self.file.sync_data()?;
        let next = Segment::of(&self.folder.path, self.segment.number + 1);
        self.file = next.create(&self.folder.path)?;
        let entry = begins(&next).with("follows", self.segment.name());
        self.segment = next;
        (self.length, self.day, self.dirty) = (0, today(), false);
        Ok(Some(entry))
    }

    /// Takes away what a write that failed left behind the good part.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        Ok(())
    }

    /// Appends whole lines, and syncs them where that is asked for.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.mend()?;
        let written = self.file.write_all(bytes).and_then(|()| match self.folder.sync {
            Sync::BeforeAnswer => self.file.sync_data(),
            Sync::EverySecond => Ok(()),
        });
        if let Err(error) = written {
            self.torn = self.file.set_len(self.length).is_err();
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.dirty = self.folder.sync == Sync::EverySecond;
        Ok(())
    }

    /// Brings to disk what is not there yet.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.dirty) { self.file.sync_data() } else { Ok(()) }
    }

    /// Segments that are to go, and the line that says so, with the number of the last line in them.
    pub fn to_prune(&self) -> io::Result<Option<(Vec<Segment>, Entry)>> {
        let Some(keep) = self.folder.keep else { return Ok(None) };
        let mut segments = segment::list(&self.folder.path)?;
        // What is called like a later one is none of ours.
        segments.retain(|segment| segment.number <= self.segment.number);
        if segments.len() <= keep {
            return Ok(None);
        }
        let kept = segments.split_off(segments.len() - keep);
        let Some(first) = kept.first().map(first_seq).transpose()?.flatten() else {
            return Ok(None);
        };
        let names: Vec<_> = segments.iter().map(Segment::name).collect();
        let entry =
            Entry::of_service(Action::Prune).with("segments", names).with("through", first - 1);
        Ok(Some((segments, entry)))
    }

    /// Removes them.
    pub fn prune(&self, segments: &[Segment]) -> io::Result<()> {
        segments.iter().try_for_each(|segment| std::fs::remove_file(&segment.path))?;
        segment::sync_folder(&self.folder.path)
    }
}

fn begins(segment: &Segment) -> Entry {
    Entry::of_service(Action::Segment).with("segment", segment.name())
}

/// Number of the first line of a segment.
fn first_seq(segment: &Segment) -> io::Result<Option<u64>> {
    use io::BufRead as _;
    let mut line = String::new();
    io::BufReader::new(File::open(&segment.path)?).read_line(&mut line)?;
    let read = super::chain::Read::unchecked(line.trim_end().as_bytes());
    Ok(read.map(|read| read.seq))
}

fn lock(folder: &Path) -> io::Result<File> {
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let text = "another process writes its audit log there: give each a folder of its own (STORAGE_AUDIT_DIR)";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn day_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / DAY_SECONDS)
}

fn today() -> u64 {
    day_of(SystemTime::now())
}
