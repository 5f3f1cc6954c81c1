//! Whatever is done to the files is found, but for what docs/AUDIT.md says is not.

use std::path::{Path, PathBuf};

use proof_storage::audit::ChainKey;
use proof_storage::audit::verify::{Asked, Verified, Wrong, verify};
use proof_storage::model::Digest;

use super::{folder, in_folder, write};

fn look(path: &Path, asked: &Asked) -> Verified {
    verify(&[path.to_owned()], asked).unwrap()
}

fn wrong(path: &Path, asked: &Asked) -> Option<Wrong> {
    look(path, asked).wrong.map(|finding| finding.wrong)
}

/// A log of a few lines in one file: its folder, the file and what is in it.
async fn small(key: Option<&ChainKey>) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let place = tempfile::tempdir().unwrap();
    let audit = in_folder(folder(place.path()), key);
    write(&audit, 4).await;
    audit.close().await;
    let file = place.path().join("audit-00000001.jsonl");
    let bytes = std::fs::read(&file).unwrap();
    (place, file, bytes)
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

#[tokio::test]
async fn what_was_not_touched_is_whole() {
    for key in [None, Some(ChainKey::new(&[7; 32]))] {
        let (place, _, bytes) = small(key.as_ref()).await;
        let asked = Asked { keys: key.into_iter().collect(), ..Asked::default() };
        let found = look(place.path(), &asked);
        assert_eq!(found.wrong, None);
        assert_eq!((found.lines, found.first, found.last), (5, Some(1), Some(5)));
        assert_eq!(lines(&bytes).len(), 5, "the segment's own and four");
        assert_eq!(found.keyed, if asked.keys.is_empty() { 0 } else { 5 });
    }
}

#[tokio::test]
async fn every_changed_byte_is_found() {
    let (place, file, bytes) = small(None).await;
    for at in 0..bytes.len() {
        for bit in [0x01, 0x20, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            std::fs::write(&file, &changed).unwrap();
            let found = wrong(place.path(), &Asked::default());
            assert!(found.is_some(), "byte {at} ^ {bit:#x}");
        }
    }
    // The control: the same check passes what was there.
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(wrong(place.path(), &Asked::default()), None);
}

#[tokio::test]
async fn every_dropped_line_and_every_swap_is_found() {
    let (place, file, bytes) = small(None).await;
    let all = lines(&bytes);
    for first in 0..all.len() {
        let mut fewer = all.clone();
        fewer.remove(first);
        std::fs::write(&file, fewer.concat()).unwrap();
        let found = wrong(place.path(), &Asked::default());
        let last = first + 1 == all.len();
        // A whole line at the end is what the chain alone does not show.
        assert_eq!(found, (!last).then_some(Wrong::Dropped), "line {first}");

        let mut twice = all.clone();
        twice.insert(first, all[first].clone());
        std::fs::write(&file, twice.concat()).unwrap();
        assert_eq!(wrong(place.path(), &Asked::default()), Some(Wrong::Reordered));

        for second in first + 1..all.len() {
            let mut swapped = all.clone();
            swapped.swap(first, second);
            std::fs::write(&file, swapped.concat()).unwrap();
            let found = wrong(place.path(), &Asked::default());
            // Where the first line is not the first, what is before it seems to be missing.
            assert!(matches!(found, Some(Wrong::Reordered | Wrong::Dropped)), "{first} {second}");
        }
    }
}

#[tokio::test]
async fn every_cut_is_found_and_one_between_lines_by_a_head() {
    let (place, file, bytes) = small(None).await;
    let head = look(place.path(), &Asked::default()).head.unwrap();
    let asked = Asked { heads: vec![Digest::from_hex(&head).unwrap()], ..Asked::default() };
    assert_eq!(wrong(place.path(), &asked), None);
    for length in 0..bytes.len() {
        std::fs::write(&file, &bytes[..length]).unwrap();
        let expected = match length {
            0 => Some(Wrong::Empty),
            _ if bytes[length - 1] == b'\n' => None,
            _ => Some(Wrong::Truncated),
        };
        assert_eq!(wrong(place.path(), &Asked::default()), expected, "{length} bytes");
        assert!(wrong(place.path(), &asked).is_some(), "{length} bytes, with the head");
    }
}

/// Who can write the files and has no key can make all anew where there was none, and not where there
/// was one.
#[tokio::test]
async fn a_chain_made_anew_is_found_by_the_key_or_a_head() {
    let key = ChainKey::new(&[7; 32]);
    let (place, file, _) = small(Some(&key)).await;
    let (_, _, forged) = small(None).await;
    let asked = Asked { keys: vec![key.clone()], ..Asked::default() };
    let head = look(place.path(), &asked).head.unwrap();
    std::fs::write(&file, &forged).unwrap();
    assert_eq!(wrong(place.path(), &Asked::default()), None, "without a key it looks whole");
    assert_eq!(wrong(place.path(), &asked), Some(Wrong::Unkeyed));
    let asked = Asked { heads: vec![Digest::from_hex(&head).unwrap()], ..Asked::default() };
    assert_eq!(wrong(place.path(), &asked), Some(Wrong::HeadMissing));
}

#[tokio::test]
async fn lines_of_another_chain_and_lines_without_the_key_are_found() {
    let key = ChainKey::new(&[7; 32]);
    let (place, file, bytes) = small(Some(&key)).await;
    let asked = Asked { keys: vec![key], ..Asked::default() };
    assert_eq!(wrong(place.path(), &Asked::default()), Some(Wrong::UnknownKey));
    let (_, _, other) = small(None).await;
    let mixed = [lines(&bytes)[..2].concat(), lines(&other)[2..].concat()].concat();
    std::fs::write(&file, mixed).unwrap();
    assert_eq!(wrong(place.path(), &asked), Some(Wrong::Foreign));
    // The service goes on without its key: what it writes then is found too.
    std::fs::write(&file, &bytes).unwrap();
    let audit = in_folder(folder(place.path()), None);
    write(&audit, 1).await;
    audit.close().await;
    assert_eq!(wrong(place.path(), &asked), Some(Wrong::Unkeyed));
}

#[tokio::test]
async fn segments_are_one_chain_and_only_what_the_service_removed_may_be_missing() {
    let place = tempfile::tempdir().unwrap();
    let small = super::Folder { segment_bytes: 1024, ..folder(place.path()) };
    let audit = in_folder(small.clone(), None);
    write(&audit, 20).await;
    audit.close().await;
    let mut files: Vec<_> =
        proof_storage::audit::verify::files(&[place.path().to_owned()]).unwrap();
    assert!(files.len() > 4, "{files:?}");
    assert_eq!(wrong(place.path(), &Asked::default()), None);
    for file in &files {
        let aside = file.with_extension("aside");
        std::fs::rename(file, &aside).unwrap();
        let found = wrong(place.path(), &Asked::default());
        let last = file == files.last().unwrap();
        assert_eq!(found, (!last).then_some(Wrong::Dropped), "{file:?}");
        std::fs::rename(aside, file).unwrap();
    }
    files.swap(1, 2);
    assert_eq!(verify(&files, &Asked::default()).unwrap().wrong.unwrap().wrong, Wrong::Reordered);

    // With a number of segments to keep, the older ones go, and a line says so.
    let audit = in_folder(super::Folder { keep: Some(3), ..small }, None);
    write(&audit, 10).await;
    audit.close().await;
    let files = proof_storage::audit::verify::files(&[place.path().to_owned()]).unwrap();
    let found = look(place.path(), &Asked::default());
    assert_eq!((files.len(), found.wrong), (3, None));
    assert!(found.first.unwrap() > 1 && found.notes.iter().any(|note| note.contains("removed by")));
    // One more than that is missing: nobody said that.
    std::fs::remove_file(&files[0]).unwrap();
    assert_eq!(wrong(place.path(), &Asked::default()), Some(Wrong::Dropped));
}
