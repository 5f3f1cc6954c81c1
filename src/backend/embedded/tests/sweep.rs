//! One damage at a time, anywhere in a closed store: what is read must be what was stored or an
//! error, everything that was not hit must be readable, and a loss must be named.

use std::fs;
use std::path::PathBuf;

use super::*;

/// Objects of every layout: inline in the tree, in a blob file, in chunks, only in the journal.
struct Original {
    _folder: tempfile::TempDir,
    root: PathBuf,
    objects: BTreeMap<String, Bytes>,
    deleted: Vec<String>,
    files: Vec<(PathBuf, usize)>,
}

async fn original() -> Original {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let store = open(&root);
    let mut objects = BTreeMap::new();
    let mut deleted = Vec::new();
    for n in 0..60_u64 {
        let size = if n == 7 { 1_200_000 } else { [100, 3000, 9000][n as usize % 3] };
        let (name, bytes) = (format!("o/{n:03}"), noise(n + 1, size));
        put(&store, &name, &bytes, PutMode::Create).await.unwrap();
        if n % 10 == 9 {
            let gone = format!("o/{:03}", n - 4);
            assert!(store.delete(&key(&gone), None).await.unwrap() == Some(true));
            objects.remove(&gone);
            deleted.push(gone);
        }
        objects.insert(name, bytes);
        if n % 20 == 19 && n < 50 {
            for space in batch::Space::ALL {
                store.shared.engine.space(space).rotate_memtable_and_wait().unwrap();
            }
        }
    }
    store.close();
    drop(store);
    let mut files = Vec::new();
    list(&root, &PathBuf::new(), &mut files);
    Original { _folder: folder, root, objects, deleted, files }
}

fn list(root: &Path, below: &Path, files: &mut Vec<(PathBuf, usize)>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            list(root, &path, files);
        } else {
            let bytes = fs::read(entry.path()).unwrap();
            // The engine reserves room in its journal; damage is to go where something is.
            let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
            let data = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let used = if is_journal { data } else { bytes.len() };
            files.push((path, used));
        }
    }
    files.sort();
}

fn copy(from: &Original, to: &Path) {
    for (path, used) in &from.files {
        let target = to.join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        let bytes = fs::read(from.root.join(path)).unwrap();
        fs::write(&target, &bytes[..*used]).unwrap();
    }
}

/// What one damage did.
#[derive(Debug, Default)]
struct Seen {
    refused: bool,
    lost: usize,
    returned: usize,
    named: bool,
}

async fn look(original: &Original, root: &Path, what: &str) -> Seen {
    let store = match Embedded::open(options(root)) {
        Ok(store) => store,
        Err(cause) => {
            tracing::error!(what, %cause, "refused");
            return Seen { refused: true, named: true, ..Seen::default() };
        }
    };
    let mut seen = Seen { named: !store.damage().is_empty(), ..Seen::default() };
    for (name, bytes) in &original.objects {
        match read(&store, name).await {
            Ok(found) => assert!(found == *bytes, "{what}: wrong bytes for {name}"),
            Err(cause) => {
                seen.named |= cause.kind() == ErrorKind::Corrupt;
                seen.lost += 1;
            }
        }
    }
    for name in &original.deleted {
        seen.returned += usize::from(read(&store, name).await.is_ok());
    }
    seen
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the tally by file is what a long run is for")]
async fn flips_never_give_wrong_bytes_and_are_named() {
    let original = original().await;
    let scratch = tempfile::tempdir().unwrap();
    let clean = scratch.path().join("clean");
    copy(&original, &clean);
    let seen = look(&original, &clean, "no damage").await;
    assert_eq!((seen.lost, seen.returned, seen.refused, seen.named), (0, 0, false, false));

    // More for a thorough look: `SWEEP=1000 cargo test sweep -- --nocapture`.
    let rounds: u64 = std::env::var("SWEEP").map_or(60, |rounds| rounds.parse().unwrap());
    let mut by_file: BTreeMap<String, (u64, u64, usize)> = BTreeMap::new();
    for round in 0..rounds {
        // Every file gets its share, however small it is.
        let (path, used) = &original.files[round as usize % original.files.len()];
        if *used == 0 {
            continue;
        }
        let pick = noise(round + 1, 16);
        let bit = u64::from_le_bytes(pick[..8].try_into().unwrap()) as usize % (used * 8);
        let what = format!("round {round}: bit {bit} of {}", path.display());
        let root = scratch.path().join(round.to_string());
        copy(&original, &root);
        let mut bytes = fs::read(root.join(path)).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(root.join(path), bytes).unwrap();
        let seen = look(&original, &root, &what).await;
        assert!(!seen.refused, "{what}: everything else must stay readable");
        assert!(seen.returned == 0 || seen.named, "{what}: came back unnamed");
        assert!(seen.lost == 0 || seen.named, "{what}: lost {} unnamed", seen.lost);
        // A row of a tree's data block has neighbours; everywhere else a bit is one object's.
        let most = if path.components().any(|part| part.as_os_str() == "tables") { 40 } else { 1 };
        assert!(seen.lost + seen.returned <= most, "{what}: lost {}", seen.lost);
        let entry = by_file.entry(path.display().to_string()).or_default();
        entry.0 += 1;
        entry.1 += u64::from(seen.refused);
        entry.2 = entry.2.max(seen.lost);
        fs::remove_dir_all(&root).unwrap();
    }
    for (file, (rounds, refused, lost)) in &by_file {
        println!("{file}: {rounds} flips, {refused} refused, at most {lost} lost");
    }
}

/// The newest journal, cut anywhere in its last 4 KiB: at most what was in the part cut off is
/// lost, and the witness of the clean end says so.
#[tokio::test]
async fn a_journal_cut_short_is_named() {
    let original = original().await;
    let scratch = tempfile::tempdir().unwrap();
    let is_journal = |path: &Path| path.extension().is_some_and(|extension| extension == "jnl");
    let mut journals = original.files.iter().filter(|(path, _)| is_journal(path));
    let (journal, used) = journals.next_back().expect("there is a journal").clone();
    for cut in (1..4096).step_by(151) {
        let what = format!("{cut} bytes cut off");
        let root = scratch.path().join(cut.to_string());
        copy(&original, &root);
        let bytes = fs::read(root.join(&journal)).unwrap();
        fs::write(root.join(&journal), &bytes[..used - cut]).unwrap();
        let seen = look(&original, &root, &what).await;
        assert!(!seen.refused && seen.named, "{what}: {seen:?}");
        assert!(seen.lost + seen.returned <= 1 + cut / 100, "{what}: {seen:?}");
        fs::remove_dir_all(&root).unwrap();
    }
}

/// A sector of zeros anywhere, as a disk gives for what it can no longer read.
#[tokio::test]
async fn zeroed_sectors_never_give_wrong_bytes_and_are_named() {
    let original = original().await;
    let scratch = tempfile::tempdir().unwrap();
    let large = original.files.iter().filter(|(_, used)| *used > 4096);
    let targets: Vec<_> = large.cycle().take(24).enumerate().collect();
    for (round, (path, used)) in targets {
        let pick = noise(round as u64 + 77, 8);
        let pick = u64::from_le_bytes(pick[..].try_into().unwrap()) as usize;
        let at = pick % (used / 512) * 512;
        let what = format!("round {round}: 512 zeros at {at} of {}", path.display());
        let root = scratch.path().join(format!("z{round}"));
        copy(&original, &root);
        let mut bytes = fs::read(root.join(path)).unwrap();
        bytes[at..at + 512].fill(0);
        fs::write(root.join(path), bytes).unwrap();
        let seen = look(&original, &root, &what).await;
        assert!(!seen.refused, "{what}");
        assert!(seen.lost + seen.returned == 0 || seen.named, "{what}: {seen:?}");
        fs::remove_dir_all(&root).unwrap();
    }
}
