//! The simulation as a caller sees it, through a socket and with signatures of its own.

mod buckets;
mod client;
mod faults;
mod locks;
mod objects;
mod personalities;
mod proxy;
mod uploads;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fake_s3::{FakeS3, Personality};

use self::client::Client;

/// Takes writes of one key as fast as they come, whatever the personality.
fn start(personality: Personality) -> (FakeS3, Client) {
    let server = FakeS3::start(personality).expect("a free port");
    server.set_write_interval(None);
    let client = Client::new(&server);
    (server, client)
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes)
}
