//! A JSON manifest, kept as gzip: passed through to who accepts it, inflated for who does not.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::rounds::{Entrant, Row, alternated, compare};
use super::{Context, RUNS};
use crate::Result;
use crate::contestant::bare::Answers;
use crate::contestant::nginx::JSON;
use crate::contestant::{Contestant, Running};
use crate::corpus::manifest;
use crate::figures::number;
use crate::load::Script;
use crate::report::Section;

/// Makes a manifest of about 13 kB.
const INGREDIENTS: u64 = 1;

/// The manifest in both forms.
struct Proof {
    plain: Vec<u8>,
    gzip: Vec<u8>,
}

pub(super) fn run(context: &Context) -> Result<Section> {
    let plain = manifest(INGREDIENTS).to_vec();
    let gzip = stored_form(context, &plain)?;
    let proof = Proof { plain, gzip };
    let mut body = String::new();
    for (title, accepts) in
        [("Client accepts gzip: passed through", true), ("Client without gzip: inflated", false)]
    {
        let table = compare(&rows(context, &proof, accepts)?, "GET/s", &["nginx", "bare axum"]);
        body.push_str(&format!("### {title}\n\n{table}\n"));
    }
    let how = format!(
        "A C2PA manifest store as JSON of {} bytes, {} bytes as the service keeps it ({}×), at 64 \
         connections, {RUNS} runs of {:?} each. nginx: `gzip_static always` on those same bytes, \
         and `gunzip` for the second table, which it answers chunked, without a length. bare \
         axum: the right bytes for either from memory.",
        proof.plain.len(),
        proof.gzip.len(),
        number(proof.plain.len() as f64 / proof.gzip.len() as f64),
        context.run_time
    );
    context.section("gzip", "Stored gzip", &how, body)
}

/// The gzip that the service keeps of the manifest, so that the others serve the same bytes.
fn stored_form(context: &Context, plain: &[u8]) -> Result<Vec<u8>> {
    let server = context.service().start(&context.folder("gzip-form"))?;
    put(&server, plain)?;
    let answer = server.client()?.get(&path(), &[("Accept-Encoding", "gzip")])?;
    if answer.header("content-encoding") != Some("gzip") {
        return Err("the service does not answer gzip to who accepts it".into());
    }
    server.stop()?;
    Ok(answer.body)
}

fn rows(context: &Context, proof: &Proof, accepts: bool) -> Result<Vec<Row>> {
    let (name, wanted) = if accepts { ("passed", &proof.gzip) } else { ("inflated", &proof.plain) };
    let file = context.folder(format!("gzip-{name}"));
    fs::write(&file, wanted)?;
    let mut entrants = Vec::new();
    for (place, service) in context.services().into_iter().enumerate() {
        let folder = format!("gzip-{name}-{place}");
        entrants.push(Entrant::start(context, service, &folder, |s| put(s, &proof.plain))?);
    }
    let folder = format!("gzip-{name}-nginx");
    place_for_nginx(&context.folder(&folder), &proof.gzip)?;
    entrants.push(Entrant::start(context, Contestant::nginx("nginx"), &folder, |_| Ok(()))?);
    let bare = Contestant::bare("bare axum", Answers::json(file, accepts));
    entrants.push(Entrant::start(context, bare, &format!("gzip-{name}-bare"), |_| Ok(()))?);

    let mut pressure = context.pressure(64);
    if accepts {
        pressure.headers = vec!["Accept-Encoding: gzip".into()];
    }
    let script = Script::Get { prefix: JSON.into(), count: 1 };
    let check = |server: &Running| check(server, proof, accepts);
    alternated(context, entrants, &script, &pressure, wanted.len(), check, None)
}

fn path() -> String {
    format!("{JSON}1")
}

fn put(server: &Running, plain: &[u8]) -> Result<()> {
    let answer = server.client()?.put(&path(), "application/json", plain)?;
    if answer.status != 201 {
        return Err(format!("the manifest was answered {}", answer.status).into());
    }
    Ok(())
}

fn place_for_nginx(folder: &Path, gzip: &[u8]) -> Result<()> {
    let file = folder.join("root").join(path().trim_start_matches('/')).with_extension("gz");
    fs::create_dir_all(file.parent().unwrap_or(folder))?;
    Ok(fs::write(file, gzip)?)
}

/// Compares the answer with the form that the client asked for, and its gzip with the manifest.
fn check(server: &Running, proof: &Proof, accepts: bool) -> Result<()> {
    let headers: &[_] = if accepts { &[("Accept-Encoding", "gzip")] } else { &[] };
    let answer = server.client()?.get(&path(), headers)?;
    let encoded = answer.header("content-encoding") == Some("gzip");
    if answer.status != 200 || encoded != accepts {
        return Err(format!("answered {}, gzip: {encoded}", answer.status).into());
    }
    let mut plain = answer.body;
    if accepts {
        let stored = std::mem::take(&mut plain);
        MultiGzDecoder::new(stored.as_slice()).read_to_end(&mut plain)?;
    }
    if plain != proof.plain {
        return Err("answered other bytes than the manifest's".into());
    }
    Ok(())
}
