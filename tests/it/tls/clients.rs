//! Certificates that clients have to show.

use http::StatusCode;

use super::{Client, Running};
use crate::certificates::Authority;

async fn demanding(authority: &Authority, more: &str) -> Running {
    let pem = authority.pem.clone();
    Running::with(|folder| {
        let file = folder.join("clients.crt");
        std::fs::write(&file, pem).unwrap();
        format!("tls_client_ca = '{}'\n{more}", file.display())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_shows_a_right_one_is_answered() {
    let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    let running = demanding(&clients, "").await;
    let to = running.address;
    for tls12 in [false, true] {
        let client = || if tls12 { running.client().of_tls12() } else { running.client() };
        let right = client().showing(&clients.client()).get(to, "/health/ready").await;
        assert_eq!(right.map(|(status, _)| status), Ok(StatusCode::OK), "TLS 1.2: {tls12}");

        client().get(to, "/health/ready").await.expect_err("none is shown");
        let wrong = client().showing(&strangers.client());
        wrong.get(to, "/health/ready").await.expect_err("another authority's");
        let ended = clients.server_in(2001..2002);
        client().showing(&ended).get(to, "/health/ready").await.expect_err("it ended long ago");
        let server = client().showing(&clients.server());
        server.get(to, "/health/ready").await.expect_err("it is for servers");
    }
    running
        .wait_for("proof_storage_tls_handshakes_failed_total{cause=\"no_certificate\"}", 2.0)
        .await;
    running
        .wait_for("proof_storage_tls_handshakes_failed_total{cause=\"bad_certificate\"}", 6.0)
        .await;
    running.stop().await;
}

/// Which is how `healthcheck` is let in: who has the key of the service is the service.
#[tokio::test(flavor = "multi_thread")]
async fn the_services_own_certificate_is_taken_and_no_other_of_its_authority() {
    let running = demanding(&Authority::new("clients"), "").await;
    let read = |name| std::fs::read_to_string(running.file(name)).unwrap();
    let own = crate::certificates::Pair { cert: read("tls.crt"), key: read("tls.key") };
    let answer = running.client().showing(&own).get(running.address, "/health/ready").await;
    assert_eq!(answer.map(|(status, _)| status), Ok(StatusCode::OK));
    let sibling = running.authority.server();
    let answer = running.client().showing(&sibling).get(running.address, "/health/ready").await;
    answer.expect_err("another certificate of the same authority");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_address_demands_the_same_unless_it_is_said_to_be_plain() {
    let clients = Authority::new("clients");
    let running = demanding(&clients, "admin_listen = '127.0.0.1:0'\n").await;
    let admin = running.admin.unwrap();
    let shown = running.client().showing(&clients.client()).get(admin, "/metrics").await;
    assert_eq!(shown.map(|(status, _)| status), Ok(StatusCode::OK));
    running.client().get(admin, "/metrics").await.expect_err("none is shown");
    running.stop().await;

    let more = "admin_listen = '127.0.0.1:0'\nadmin_tls = false\n";
    let running = demanding(&clients, more).await;
    let answer = super::connections::in_the_clear(running.admin.unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let main = super::connections::in_the_clear(running.address).await;
    assert!(main.starts_with("HTTP/1.1 400 "), "{main}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_know_the_authority_refuses() {
    let running = Running::start().await;
    let stranger = Client::of(&[&Authority::new("strangers").pem]);
    stranger.get(running.address, "/health").await.expect_err("an unknown authority");
    running.wait_for("proof_storage_tls_handshakes_failed_total{cause=\"refused\"}", 1.0).await;
    running.stop().await;
}
