//! The negative control: contestants that cheat must be refused, an honest one must not.
//!
//! Without it, a comparison proves nothing: a server that answers errors is always the fastest.

use crate::Result;
use crate::contestant::Contestant;
use crate::contestant::bare::{Answers, Cheat};
use crate::scenario::get::OBJECT_COUNT;
use crate::scenario::{Context, get, put};

const SIZE: usize = 4 << 10;

/// Runs every cheat through the scenarios' own checks, and fails where one comes through.
pub(crate) fn run() -> Result<()> {
    let context = Context::without_service()?;
    let get = |name: &str, cheat| {
        let answers = Answers { cheat, ..Answers::objects(SIZE, OBJECT_COUNT) };
        get::table(&context, name, vec![Contestant::bare(name, answers)], SIZE).map(drop)
    };
    accepted("honest GET", get("honest", None))?;
    refused("GET with a flipped bit", get("flip", Some(Cheat::Flip)), "wrong bytes")?;
    refused("GET cut by a byte", get("cut", Some(Cheat::Cut)), "wrong bytes")?;
    refused("GET with errors", get("fail", Some(Cheat::Fail)), "were errors")?;

    let put = |contestant: &Contestant| put::one_run(&context, contestant, SIZE).map(drop);
    accepted("honest PUT", put(&Contestant::nginx("nginx")))?;
    let forgetful = Contestant::forgetful("forgets", Answers::objects(SIZE, 1));
    refused("PUT that is forgotten", put(&forgetful), "only 0 are there")
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
