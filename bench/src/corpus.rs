//! The bytes that are stored: the same in every run, and worked out again to compare answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Bytes that no codec can shrink, different for every `number`.
pub(crate) fn noise(number: u64, length: usize) -> Bytes {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*: quick, and all that is asked of it is to look random to deflate
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

const ASSERTIONS: [&str; 5] = [
    "c2pa.thumbnail.claim",
    "c2pa.actions.v2",
    "c2pa.hash.data",
    "c2pa.metadata",
    "stds.schema-org.CreativeWork",
];

/// A C2PA manifest store as a reader prints it: an edited photograph with `ingredients` sources.
///
/// Names, labels and URLs repeat as in the real thing; hashes, times and identifiers do not.
pub(crate) fn manifest(ingredients: u64) -> Bytes {
    let active = label(0);
    let mut manifests = serde_json::Map::new();
    manifests.insert(active.clone(), claim(0, ingredients));
    for source in 1..=ingredients {
        manifests.insert(label(source), claim(source, 0));
    }
    let store = json!({
        "active_manifest": active,
        "manifests": manifests,
        "validation_results": { "activeManifest": {
            "success": successes(0),
            "informational": [],
            "failure": [],
        }, "ingredientDeltas": (1..=ingredients).map(|source| json!({
            "ingredientAssertionURI": assertion_url(0, &format!("c2pa.ingredient.v3__{source}")),
            "validationDeltas": {
                "success": successes(source), "informational": [], "failure": [],
            },
        })).collect::<Vec<_>>() },
        "validation_state": "Valid",
    });
    serde_json::to_vec_pretty(&store).expect("a JSON value always prints").into()
}

fn claim(number: u64, ingredients: u64) -> Value {
    json!({
        "claim_generator_info": [{ "name": "Proof Camera", "version": "4.2.1",
            "org.contentauth.c2pa_rs": "0.90.0" }],
        "title": format!("IMG_{:04}.jpg", 4711 + number),
        "format": "image/jpeg",
        "instance_id": format!("xmp:iid:{}", identifier("instance", number)),
        "thumbnail": { "format": "image/jpeg",
            "identifier": assertion_url(number, "c2pa.thumbnail.claim") },
        "ingredients": (1..=ingredients).map(|source| json!({
            "title": format!("IMG_{:04}.jpg", 4711 + source),
            "format": "image/jpeg",
            "document_id": format!("xmp:did:{}", identifier("document", source)),
            "instance_id": format!("xmp:iid:{}", identifier("instance", source)),
            "thumbnail": { "format": "image/jpeg",
                "identifier": assertion_url(source, "c2pa.thumbnail.claim"),
                "hash": hash("thumbnail", source) },
            "relationship": if source == 1 { "parentOf" } else { "componentOf" },
            "active_manifest": label(source),
            "label": format!("c2pa.ingredient.v3__{source}"),
        })).collect::<Vec<_>>(),
        "assertions": [
            { "label": "c2pa.actions.v2", "data": { "actions": [
                { "action": "c2pa.created", "when": time(number, 0),
                  "digitalSourceType":
                    "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture" },
                { "action": "c2pa.color_adjustments", "when": time(number, 1),
                  "parameters": { "name": "brightnesscontrast" } },
                { "action": "c2pa.resized", "when": time(number, 2) },
            ], "allActionsIncluded": true } },
            { "label": "c2pa.hash.data", "data": {
                "exclusions": [{ "start": 20, "length": 51_179 + number }],
                "name": "jumbf manifest", "alg": "sha256",
                "hash": hash("data", number), "pad": STANDARD.encode([0; 8]) } },
            { "label": "c2pa.metadata", "data": {
                "@context": { "exif": "http://ns.adobe.com/exif/1.0/" },
                "exif:GPSLatitude": format!("{},{:.5}N", 47 + number % 3, digits(number, 0)),
                "exif:GPSLongitude": format!("{},{:.5}E", 8 + number % 5, digits(number, 1)),
                "exif:GPSTimeStamp": time(number, 3),
                "exif:ExposureTime": format!("1/{}", 60 + number * 65),
                "exif:FNumber": 1.8, "exif:FocalLength": digits(number, 2),
                "exif:LensSerialNumber": identifier("lens", number) }, "kind": "Json" },
            { "label": "stds.schema-org.CreativeWork", "data": {
                "@context": "http://schema.org/", "@type": "CreativeWork",
                "author": [{ "@type": "Person", "name": "Jo Example" }] }, "kind": "Json" },
        ],
        "claim": { "created_assertions": ASSERTIONS.map(|name| json!({
            "url": assertion_url(number, name), "hash": hash(name, number) })).to_vec(),
            "signature": format!("self#jumbf=/c2pa/{}/c2pa.signature", label(number)) },
        "signature_info": { "alg": "Es256", "issuer": "Example Trust Services",
            "common_name": "Example Camera Signing", "time": time(number, 9),
            "cert_serial_number": u128::from_be_bytes(
                sha256("serial", number)[..16].try_into().expect("16 bytes of 32")).to_string() },
        "label": label(number),
    })
}

fn successes(number: u64) -> Vec<Value> {
    let signature = format!("self#jumbf=/c2pa/{}/c2pa.signature", label(number));
    let mut codes = vec![
        json!({ "code": "timeStamp.validated", "url": signature,
            "explanation": "timestamp message digest matched: Example TSA" }),
        json!({ "code": "claimSignature.insideValidity", "url": signature,
            "explanation": "claim signature valid" }),
        json!({ "code": "claimSignature.validated", "url": signature,
            "explanation": "claim signature valid" }),
    ];
    for name in ASSERTIONS {
        let url = assertion_url(number, name);
        codes.push(json!({ "code": "assertion.hashedURI.match",
            "explanation": format!("hashed uri matched: {url}"), "url": url }));
    }
    codes
}

fn label(number: u64) -> String {
    format!("urn:c2pa:{}", identifier("manifest", number))
}

fn assertion_url(number: u64, name: &str) -> String {
    format!("self#jumbf=/c2pa/{}/c2pa.assertions/{name}", label(number))
}

fn identifier(kind: &str, number: u64) -> String {
    let hex: String = sha256(kind, number)[..16].iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

fn hash(kind: &str, number: u64) -> String {
    STANDARD.encode(sha256(kind, number))
}

/// A number as an instrument reads it: between 0 and 60.
fn digits(number: u64, field: usize) -> f64 {
    f64::from(sha256("exif", number)[field]) / 4.267
}

fn time(number: u64, step: u64) -> String {
    let minute = (number * 7 + step) % 60;
    format!("2026-03-{:02}T11:{minute:02}:{:02}Z", 1 + number % 28, (number * 13 + step * 5) % 60)
}

fn sha256(kind: &str, number: u64) -> [u8; 32] {
    Sha256::digest(format!("{kind} {number}")).into()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> usize {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().len()
    }

    #[test]
    fn noise_is_the_same_again_and_does_not_shrink() {
        assert_eq!(noise(7, 4096), noise(7, 4096));
        assert_ne!(noise(7, 4096), noise(8, 4096));
        assert_eq!(noise(1, 1001).len(), 1001);
        assert!(gzip(&noise(7, 65_536)) > 65_000);
    }

    #[test]
    fn manifest_is_of_the_size_and_redundancy_of_a_real_one() {
        let manifest = manifest(1);
        assert!(serde_json::from_slice::<Value>(&manifest).unwrap()["manifests"].is_object());
        assert!((12_000..16_000).contains(&manifest.len()), "{} bytes", manifest.len());
        let factor = manifest.len() as f64 / gzip(&manifest) as f64;
        assert!((4.0..6.5).contains(&factor), "compresses {factor:.2} times");
    }
}
