//! The negative control: contestants that cheat must be refused, an honest one must not.
//!
//! Without it, a comparison proves nothing: a server that answers errors is always the fastest.

use crate::Result;
use crate::contestant::Contestant;
use crate::contestant::bare::{Answers, Cheat};
use crate::contestant::sdk::Call;
use crate::scenario::get::OBJECT_COUNT;
use crate::scenario::{Context, get, put, s3};
use crate::upstream::instant;

const SIZE: usize = 4 << 10;

/// Runs every cheat through the scenarios' own checks, and fails where one comes through.
pub(crate) fn run() -> Result<()> {
    let context = Context::without_service()?;
    let get = |name: &str, cheat| {
        let answers = Answers { cheat, ..Answers::objects(SIZE, OBJECT_COUNT) };
        let contestants = vec![Contestant::bare(name, answers)];
        get::rows(&context, name, contestants, SIZE, &context.pressure(64), None).map(drop)
    };
    accepted("honest GET", get("honest", None))?;
    refused("GET with a flipped bit", get("flip", Some(Cheat::Flip)), "wrong bytes")?;
    refused("GET cut by a byte", get("cut", Some(Cheat::Cut)), "wrong bytes")?;
    refused("GET with errors", get("fail", Some(Cheat::Fail)), "were errors")?;

    let put = |contestant: &Contestant| {
        put::one_run(&context, contestant, SIZE, &context.pressure(64)).map(drop)
    };
    accepted("honest PUT", put(&Contestant::nginx("nginx")))?;
    let forgetful = Contestant::forgetful("forgets", Answers::objects(SIZE, 1));
    refused("PUT that is forgotten", put(&forgetful), "only 0 are there")?;

    let over_s3 = |call, cheat| s3::control(&context, call, cheat);
    for (name, call) in [("GET", Call::Get), ("PUT", Call::Put)] {
        let [served, alone] = over_s3(call, None);
        accepted(&format!("honest {name} over S3"), served)?;
        accepted(&format!("honest {name} of the SDK alone"), alone)?;
    }
    let [served, alone] = over_s3(Call::Get, Some(instant::Cheat::Flip));
    refused("GET over S3 with a flipped bit", served, "wrong bytes")?;
    refused("GET of the SDK alone with a flipped bit", alone, "wrong bytes")?;
    let [served, alone] = over_s3(Call::Put, Some(instant::Cheat::Forget));
    refused("PUT over S3 that is forgotten", served, "only 0 are there")?;
    refused("PUT of the SDK alone that is forgotten", alone, "is not there")
}

fn accepted(name: &str, outcome: Result<()>) -> Result<()> {
    outcome.map_err(|error| format!("{name} should be accepted: {error}"))?;
    println!("ok: {name} is accepted");
    Ok(())
}

/// It must fail, and for the right reason.
fn refused(name: &str, outcome: Result<()>, reason: &str) -> Result<()> {
    match outcome {
        Ok(()) => Err(format!("{name} should be refused, and was not").into()),
        Err(error) if error.to_string().contains(reason) => {
            println!("ok: {name} is refused: {error}");
            Ok(())
        }
        Err(error) => Err(format!("{name} is refused for another reason: {error}").into()),
    }
}
