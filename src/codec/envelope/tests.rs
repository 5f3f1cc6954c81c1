use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::model::{ByteRange, FRAME_BYTES, SEALED_FRAME_BYTES, sealed_size};

fn keyring(text: &str) -> Keyring {
    let of = |(id, state): (&str, &str)| {
        format!("{id}:{state}:{}", Digest::of(id.as_bytes()).to_base64())
    };
    let entries = text.split(' ').enumerate();
    let entries = entries.map(|(n, id)| of((id, if n == 0 { "active" } else { "retired" })));
    Keyring::parse(&entries.collect::<Vec<_>>().join("\n")).unwrap()
}

fn data_key(byte: u8) -> DataKey {
    DataKey::from_slice(&[byte; 32])
}

fn facts(bytes: &[u8]) -> Facts {
    let sha256 = Digest::of(bytes);
    let size = bytes.len() as u64;
    let representation = Some(Representation { sha256, size, stored_sha256: sha256 });
    Facts { encoding: Encoding::Identity, form_size: size, representation }
}

/// Bytes that are different at every place.
fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[test]
fn a_header_opens_for_its_name_under_its_key_and_no_other() {
    let header = wrap(&keyring("2026"), "proofs/a", &data_key(7), &facts(b"abc")).unwrap();
    let opened = unwrap(&keyring("2027 2026"), "proofs/a", &header).unwrap();
    assert_eq!(opened.facts, facts(b"abc"));
    assert_eq!(opened.key.0.expose_secret(), &[7; 32]);
    assert_eq!(key_id(&header).unwrap().as_str(), "2026");

    let id = || KeyId::parse("2026").unwrap();
    for other in ["proofs/b", "proofs/", "proofs/a/", ""] {
        let refused = unwrap(&keyring("2026"), other, &header).unwrap_err();
        assert_eq!(refused, HeaderError::Forged(id()), "{other}");
    }
    assert_eq!(
        unwrap(&keyring("2027"), "proofs/a", &header).unwrap_err(),
        HeaderError::NoKey(id())
    );
    // Another key of the same name.
    let text = format!("2026:active:{}", Digest::of(b"other").to_base64());
    let other = Keyring::parse(&text).unwrap();
    assert_eq!(unwrap(&other, "proofs/a", &header).unwrap_err(), HeaderError::Forged(id()));
}

#[test]
fn every_changed_or_missing_byte_of_a_header_is_found() {
    let keys = keyring("2026 2025");
    let header = wrap(&keys, "a", &data_key(7), &facts(b"abc")).unwrap();
    for bit in 0..header.len() * 8 {
        let mut changed = header.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(unwrap(&keys, "a", &changed).is_err(), "bit {bit}");
    }
    for length in 0..header.len() {
        assert!(unwrap(&keys, "a", &header[..length]).is_err(), "cut at {length}");
    }
    let longer = [&header[..], b"\0"].concat();
    assert_eq!(unwrap(&keys, "a", &longer).unwrap_err(), HeaderError::Malformed);
    // The other key's id in the place of this one's.
    let mut renamed = header.to_vec();
    renamed[5..9].copy_from_slice(b"2025");
    assert!(matches!(unwrap(&keys, "a", &renamed), Err(HeaderError::Forged(_))));
    let mut later = header.to_vec();
    later[3] = 2;
    assert_eq!(unwrap(&keys, "a", &later).unwrap_err(), HeaderError::Version(2));
}

/// A header whose wrap opens and whose commitment is another key's: what a holder of the wrapping key
/// could make so that one body opens under two keys.
#[test]
fn a_key_that_is_not_the_committed_one_is_refused() {
    let keys = keyring("2026");
    let (salt, name) = ([9; SALT_BYTES], "a");
    let forged = |committed: &DataKey| {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(b"\x042026");
        let commitment = committed.commitment().unwrap();
        let bound = bound(&header, &commitment, name);
        header.extend_from_slice(&salt);
        header.extend_from_slice(&commitment);
        let mut plain =
            [data_key(7).0.expose_secret().as_slice(), &encode(&facts(b"abc"))].concat();
        let wrapping = wrapping(keys.active(), &salt).unwrap();
        let tag = wrapping.seal_in_place_separate_tag(zero_nonce(), Aad::from(bound), &mut plain);
        header.extend_from_slice(&plain);
        header.extend_from_slice(tag.unwrap().as_ref());
        header
    };
    assert!(
        unwrap(&keys, name, &forged(&data_key(7))).is_ok(),
        "the control: the right commitment"
    );
    let refused = unwrap(&keys, name, &forged(&data_key(8))).unwrap_err();
    assert!(matches!(refused, HeaderError::Forged(_)));
}

/// The vector of docs/FORMAT.md, which `tests/e2e` opens with another library.
#[test]
fn the_documented_vector_is_what_is_made() {
    // At run time: checkouts that share a target folder share this binary too.
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let text = std::fs::read_to_string(format!("{folder}/docs/FORMAT.md"));
    let text = text.expect("the format is documented");
    let vector = |name: &str| {
        let (_, rest) =
            text.split_once(&format!("\n{name} = ")).unwrap_or_else(|| panic!("{name}"));
        let (digits, _) = rest.split_once("\n\n").expect("it ends");
        digits.replace('\n', "")
    };
    let wrapping = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let keys = Keyring::parse(&format!("2026-11:active:{wrapping}")).unwrap();
    let data_key = DataKey::from_slice(&std::array::from_fn(|n| 0x40 + n as u8));
    let salt = std::array::from_fn(|n| 0x80 + n as u8);
    let plain = b"{\"claim\":\"made by hand\"}";
    let header =
        wrap_with(keys.active(), &salt, "proofs/photos/1.json", &data_key, &facts(plain)).unwrap();
    let body = seal_whole(&data_key, plain).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&header), vector("header"));
    assert_eq!(hex(&body), vector("body"));
}

#[test]
fn bodies_of_every_size_come_back() {
    let frame = FRAME_BYTES;
    for size in [0, 1, 15, 16, 17, frame - 1, frame, frame + 1, 2 * frame, 3 * frame + 7] {
        let plain = noise(size);
        let sealed = seal_whole(&data_key(1), &plain).unwrap();
        assert_eq!(sealed.len() as u64, sealed_size(size as u64));
        assert_eq!(open_whole(&data_key(1), size as u64, &sealed).unwrap(), plain, "{size}");
        assert!(open_whole(&data_key(2), size as u64, &sealed).is_err());
        assert!(size < 16 || !sealed.windows(16).any(|window| window == &plain[..16]));
    }
}

/// Frames of a body of three, cut and put together in other ways.
#[test]
fn no_frame_can_be_changed_moved_dropped_or_added() {
    let size = 2 * FRAME_BYTES + 100;
    let plain = noise(size);
    let sealed = seal_whole(&data_key(1), &plain).unwrap();
    let frames: Vec<&[u8]> = sealed.chunks(SEALED_FRAME_BYTES).collect();
    let open = |bytes: &[u8]| {
        // As the size that this many sealed bytes would have, and as that in the header.
        let by_length = crate::model::form_size(bytes.len() as u64);
        let one = by_length.map(|size| open_whole(&data_key(1), size, bytes).is_ok());
        one.unwrap_or(false) || open_whole(&data_key(1), size as u64, bytes).is_ok()
    };
    assert!(open(&sealed), "the control: as it was sealed");
    let other = seal_whole(&data_key(2), &plain).unwrap();
    let made: &[(&str, Vec<u8>)] = &[
        ("swapped", [frames[1], frames[0], frames[2]].concat()),
        ("repeated", [frames[0], frames[0], frames[2]].concat()),
        ("first dropped", [frames[1], frames[2]].concat()),
        ("middle dropped", [frames[0], frames[2]].concat()),
        ("last dropped", [frames[0], frames[1]].concat()),
        ("all but one dropped", frames[0].to_vec()),
        ("last alone", frames[2].to_vec()),
        ("nothing", Vec::new()),
        ("frame added", [frames[0], frames[1], frames[2], frames[2]].concat()),
        ("byte added", [&sealed[..], b"\0"].concat()),
        ("byte dropped", sealed[..sealed.len() - 1].to_vec()),
        ("another's frame", [&other[..SEALED_FRAME_BYTES], frames[1], frames[2]].concat()),
        ("cut in a frame", sealed[..SEALED_FRAME_BYTES + 500].to_vec()),
    ];
    for (what, bytes) in made {
        assert!(!open(bytes), "{what}");
    }
    // One bit in the text and one in the tag of each frame.
    for frame in 0..3 {
        let end = (sealed.len()).min((frame + 1) * SEALED_FRAME_BYTES);
        for at in [frame * SEALED_FRAME_BYTES, end - 1, end - 16] {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert!(!open(&changed), "byte {at}");
        }
    }
}

/// What a range reads, opens to exactly that range, in pieces of any size.
fn ranged(plain: &[u8], sealed: &[u8], range: ByteRange, piece: usize) -> Vec<u8> {
    let (part, mut opener) = frames_of(&data_key(1), plain.len() as u64, range).unwrap();
    let mut out = BytesMut::new();
    for bytes in sealed[part.start as usize..part.end as usize].chunks(piece) {
        opener.feed(bytes, &mut out).unwrap();
    }
    opener.finish().unwrap();
    let skip = (range.start % FRAME_BYTES as u64) as usize;
    out[skip..skip + range.len() as usize].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ranges_are_slices(size in 1..4 * FRAME_BYTES, a: u32, b: u32, piece in 1..200_000_usize) {
        let plain = noise(size);
        let sealed = seal_whole(&data_key(1), &plain).unwrap();
        let (a, b) = (a as usize % size, b as usize % size);
        let range = ByteRange { start: a.min(b) as u64, end: a.max(b) as u64 + 1 };
        let wanted = &plain[range.start as usize..range.end as usize];
        prop_assert_eq!(ranged(&plain, &sealed, range, piece), wanted);
    }

    #[test]
    fn any_bytes_are_a_header_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let keys = keyring("2026");
        let genuine = wrap(&keys, "a", &data_key(7), &facts(b"abc")).unwrap();
        fuzz_header(&genuine, &keys, "a", &bytes);
    }

    #[test]
    fn any_change_of_a_header_is_refused(at in 0..202_usize, bytes in proptest::collection::vec(any::<u8>(), 1..40)) {
        let keys = keyring("2026");
        let genuine = wrap(&keys, "a", &data_key(7), &facts(b"abc")).unwrap();
        let mut changed = genuine.to_vec();
        let end = (at + bytes.len()).min(changed.len());
        changed[at..end].copy_from_slice(&bytes[..end - at]);
        fuzz_header(&genuine, &keys, "a", &changed);
    }
}

#[test]
fn nothing_secret_is_printed() {
    let keys = keyring("2026");
    let header = wrap(&keys, "a", &data_key(7), &facts(b"abc")).unwrap();
    let shown = format!("{:?} {:?}", data_key(7), unwrap(&keys, "a", &header).unwrap().key);
    assert_eq!(shown, "DataKey(redacted) DataKey(redacted)");
}
