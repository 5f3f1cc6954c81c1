use std::time::SystemTime;

use super::*;
use crate::model::{Digest, Lock, ObjectKey, Provider};

fn object(text: &str, etag: &str) -> ObjectMeta {
    let mut attributes = Attributes::new("text/plain");
    let digest = Digest::of(text.as_bytes());
    let size = text.len() as u64;
    attributes.representation =
        Some(Representation { sha256: digest, size, stored_sha256: digest });
    ObjectMeta {
        key: ObjectKey::new("a"),
        etag: ETag::new(etag),
        version_id: None,
        stored_size: size,
        last_modified: SystemTime::UNIX_EPOCH,
        attributes,
        lock: Lock::default(),
        provider: Provider::Memory,
    }
}

fn ours() -> Likeness {
    Likeness::of(&object("ours", "0")).expect("has a representation")
}

#[test]
fn every_look_after_a_write_has_one_finding() {
    let replace = || PutMode::Replace(ETag::new("1"));
    let (same, other) = (object("ours", "2"), object("their", "2"));
    let exists = Finding::Refused(ErrorKind::AlreadyExists);
    let failed = Finding::Refused(ErrorKind::PreconditionFailed);
    let cases = [
        (PutMode::Create, None, Finding::NotDone),
        (PutMode::Create, Some(same.clone()), Finding::Done(same.clone())),
        (PutMode::Create, Some(other.clone()), exists),
        (replace(), None, failed.clone()),
        (replace(), Some(object("old", "1")), Finding::NotDone),
        // The replacement by the same bytes: the version says that it is not there yet.
        (replace(), Some(object("ours", "1")), Finding::NotDone),
        (replace(), Some(same.clone()), Finding::Done(same.clone())),
        (replace(), Some(other.clone()), failed),
        (PutMode::Overwrite, None, Finding::NotDone),
        (PutMode::Overwrite, Some(same), Finding::NotDone),
        (PutMode::Overwrite, Some(other), Finding::NotDone),
    ];
    for (mode, seen, finding) in cases {
        assert_eq!(of_write(ours(), &mode, seen.clone()), finding, "{mode:?} {seen:?}");
    }
}

#[test]
fn likeness_is_of_all_that_identifies_bytes() {
    assert_eq!(Likeness::new(&Attributes::new("text/plain"), 4), None);
    let mut objects = vec![object("ours", "9")];
    objects.extend((0..4).map(|change| {
        let mut object = object("ours", "9");
        match change {
            0 => object.stored_size += 1,
            1 => object.attributes.encoding = Encoding::Gzip,
            2 => object.attributes.retention.legal_hold = true,
            _ => object.attributes.representation = None,
        }
        object
    }));
    let same: Vec<_> = objects.iter().map(|object| ours().is_seen(object)).collect();
    assert_eq!(same, [true, false, false, false, false]);
}

#[test]
fn every_look_after_a_rename_has_one_finding() {
    let before = object("ours", "1");
    let arrived = object("ours", "5");
    let other = object("their", "5");
    let mut relabelled = arrived.clone();
    relabelled.attributes.content_type = "other/type".to_owned();
    let halfway = Moved::Halfway(arrived.clone(), before.etag.clone());
    let as_ = Moved::As;
    let create = PutMode::Create;
    let replace = |etag| PutMode::Replace(ETag::new(etag));
    let here = || Some(before.clone());
    let exists = as_(Finding::Refused(ErrorKind::AlreadyExists));
    let failed = as_(Finding::Refused(ErrorKind::PreconditionFailed));
    let done = || as_(Finding::Done(arrived.clone()));
    let cases = [
        // The source is gone: ours where the destination is, else it cannot be told.
        (&create, None, Some(arrived.clone()), done()),
        (&PutMode::Overwrite, None, Some(arrived.clone()), done()),
        (&replace("4"), None, Some(arrived.clone()), done()),
        (&replace("5"), None, Some(arrived.clone()), as_(Finding::Open)),
        (&create, None, Some(other.clone()), as_(Finding::Open)),
        (&create, None, None, as_(Finding::Open)),
        // It is another one by now.
        (&create, Some(object("ours", "2")), Some(arrived.clone()), as_(Finding::Open)),
        // It is there.
        (&create, here(), None, as_(Finding::NotDone)),
        (&create, here(), Some(arrived.clone()), halfway.clone()),
        (&create, here(), Some(relabelled), as_(Finding::Open)),
        (&create, here(), Some(other.clone()), exists),
        (&replace("4"), here(), Some(arrived.clone()), halfway),
        (&replace("5"), here(), Some(other.clone()), as_(Finding::NotDone)),
        (&replace("4"), here(), Some(other.clone()), failed.clone()),
        (&replace("4"), here(), None, failed),
        (&PutMode::Overwrite, here(), None, as_(Finding::NotDone)),
        (&PutMode::Overwrite, here(), Some(arrived.clone()), as_(Finding::NotDone)),
        (&PutMode::Overwrite, here(), Some(other), as_(Finding::NotDone)),
    ];
    for (number, (mode, source, destination, finding)) in cases.into_iter().enumerate() {
        let found = of_rename(&before, mode, source.as_ref(), destination);
        assert_eq!(found, finding, "case {number}, {mode:?}");
    }
    let mut unknown = before.clone();
    unknown.attributes.representation = None;
    let found = of_rename(&unknown, &create, None, Some(arrived));
    assert_eq!(found, as_(Finding::Open), "nothing identifies it");
}

#[test]
fn plaintext_is_not_what_was_asked_to_be_encrypted() {
    let with = |encryption| {
        let mut object = object("ours", "2");
        object.attributes.encryption = encryption;
        object
    };
    for (asked, found, is_ours) in [
        (Encryption::None, Encryption::None, true),
        (Encryption::None, Encryption::Aes256, true),
        (Encryption::Aes256, Encryption::Aes256, true),
        (Encryption::Aes256, Encryption::None, false),
        (Encryption::Kms, Encryption::Aes256, false),
    ] {
        let wanted = Likeness::of(&with(asked)).expect("has a representation");
        let finding = of_write(wanted, &PutMode::Create, Some(with(found)));
        assert_eq!(matches!(finding, Finding::Done(_)), is_ours, "{asked:?} {found:?}");
    }
}
