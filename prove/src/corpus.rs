//! Bodies like those of the field: C2PA manifests as JSON and as binary JUMBF stores.
//!
//! Every body is unlike all others, so that a body served under a wrong key is seen.

use fastrand::Rng;

/// A body with its media type and the extension of its key.
#[derive(Debug)]
pub(crate) struct Proof {
    /// Bytes to store.
    pub(crate) body: Vec<u8>,
    /// `Content-Type` to store them under.
    pub(crate) content_type: &'static str,
    /// Extension with the dot.
    pub(crate) extension: &'static str,
}

/// A proof of a usual size: mostly 0.5-20 kB, one in 20 up to 300 kB, one in 200 up to 3 MB
/// (which the store keeps in several chunks).
pub(crate) fn usual(rng: &mut Rng) -> Proof {
    let size = match rng.u32(0..200) {
        0 => rng.usize(1_000_000..3_000_000),
        1..=10 => rng.usize(20_000..300_000),
        _ => rng.usize(500..20_000),
    };
    sized(rng, size)
}

/// A proof of about this many bytes: JSON (compressible) and binary (not) alike often.
pub(crate) fn sized(rng: &mut Rng, size: usize) -> Proof {
    if rng.bool() { json(rng, size) } else { binary(rng, size) }
}

/// A manifest store as JSON of about this many bytes, which compresses.
pub(crate) fn json(rng: &mut Rng, size: usize) -> Proof {
    Proof { body: manifest_json(rng, size), content_type: "application/json", extension: ".json" }
}

/// A manifest store as JUMBF of this many bytes, which does not compress.
pub(crate) fn binary(rng: &mut Rng, size: usize) -> Proof {
    Proof { body: jumbf(rng, size), content_type: "application/c2pa", extension: ".c2pa" }
}

/// A manifest store as `c2patool` prints it: assertions, ingredients, a signature's facts.
fn manifest_json(rng: &mut Rng, size: usize) -> Vec<u8> {
    let id = hex(rng, 16);
    let mut text = format!(
        r#"{{"active_manifest":"urn:c2pa:{id}","manifests":{{"urn:c2pa:{id}":{{"claim_generator":"prove/1.0","title":"photo-{id}.jpg","format":"image/jpeg","instance_id":"xmp:iid:{id}","assertions":["#
    );
    while text.len() + 330 < size {
        let (hash, time) = (hex(rng, 32), rng.u32(1_600_000_000..1_900_000_000));
        text.push_str(&format!(
            r#"{{"label":"c2pa.actions.v2","data":{{"actions":[{{"action":"c2pa.edited","softwareAgent":{{"name":"editor"}},"when":{time},"parameters":{{"description":"colour and exposure adjustments"}}}}]}},"hash":"{hash}"}},"#
        ));
    }
    let signature = hex(rng, 32);
    text.push_str(&format!(
        r#"{{"label":"c2pa.hash.data"}}],"signature_info":{{"alg":"Es256","issuer":"prove","cert_serial_number":"{signature}"}}}}}}}}"#
    ));
    text.into_bytes()
}

/// A JUMBF superbox (ISO 19566-5) of type `c2pa` with bytes that do not compress.
fn jumbf(rng: &mut Rng, size: usize) -> Vec<u8> {
    let mut body = vec![0; size.max(64)];
    rng.fill(&mut body);
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    body[..4].copy_from_slice(&length.to_be_bytes());
    body[4..8].copy_from_slice(b"jumb");
    body[8..12].copy_from_slice(&30_u32.to_be_bytes());
    body[12..16].copy_from_slice(b"jumd");
    body[16..20].copy_from_slice(b"c2pa");
    body
}

/// Random digits; `bytes` is a multiple of 8.
fn hex(rng: &mut Rng, bytes: usize) -> String {
    (0..bytes / 8).map(|_| format!("{:016x}", rng.u64(..))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_json_and_near_its_size() {
        let mut rng = Rng::with_seed(1);
        for size in [500, 5_000, 300_000] {
            let body = manifest_json(&mut rng, size);
            serde_json::from_slice::<serde_json::Value>(&body).unwrap();
            assert!(body.len().abs_diff(size) < 400, "{} for {size}", body.len());
        }
    }
}
