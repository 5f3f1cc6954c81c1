"""Real S3 servers below the service: Garage 2.5.0 (one node) and moto 5, with boto3 as the witness."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from places import Place, examined
from service import Service, binary

MANIFEST = json.dumps({"claim": [{"n": n, "label": "c2pa.hash.data"} for n in range(400)]}).encode()
STORE = bytes(range(256)) * 40


def problem(answer: requests.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


def put(place: Place, key: str, body: bytes, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.put(place.url(key), data=body, headers=named, timeout=60)


def test_large_proofs_go_up_in_parts_and_come_back(place: Place, folder: str) -> None:
    body = hashlib.shake_256(b"large").digest(20_000_000)
    stored = put(place, f"{folder}/large.c2pa", body)
    assert stored.status_code == 201, stored.text
    assert place.object(f"{folder}/large.c2pa")["ETag"].endswith('-3"'), "three parts of 8 MiB at most"
    got = requests.get(place.url(f"{folder}/large.c2pa"), timeout=60)
    assert hashlib.sha256(got.content).digest() == hashlib.sha256(body).digest()
    assert got.headers["content-length"] == str(len(body))
    part = requests.get(
        place.url(f"{folder}/large.c2pa"), headers={"Range": "bytes=12345678-12345687"}, timeout=60
    )
    assert part.content == body[12345678:12345688]


def test_listing_copying_moving_and_deleting_many(place: Place, folder: str) -> None:
    names = [f"{folder}/{group}/{number:04}" for group in "ab" for number in range(600)]
    with ThreadPoolExecutor(16) as pool:
        stored = pool.map(lambda name: put(place, name, name.encode()).status_code, names)
        assert set(stored) == {201}
    with requests.Session() as session:
        listing = f"{place.service.url}/v1/proofs"
        rolled_up = session.get(listing, params={"prefix": f"{folder}/", "delimiter": "/"}, timeout=60).json()
        assert rolled_up["common_prefixes"] == [f"{folder}/a/", f"{folder}/b/"]
        found, cursor = [], None
        while True:
            query = {"prefix": f"{folder}/", "limit": "700"} | ({"cursor": cursor} if cursor else {})
            page = session.get(listing, params=query, timeout=60).json()
            found += [item["key"] for item in page["items"]]
            if not (cursor := page["next_cursor"]):
                break
        assert found == names

    copied = place.post("copy", source=names[0], destination=f"{folder}/copy")
    assert copied.status_code == 201, copied.text
    taken = place.post("copy", source=names[1], destination=f"{folder}/copy")
    assert problem(taken) == (409, "ALREADY_EXISTS")
    moved = place.post("move", source=names[1], destination=f"{folder}/moved")
    assert moved.status_code == 201, moved.text
    assert requests.get(place.url(names[1]), timeout=60).status_code == 404
    assert requests.get(place.url(f"{folder}/moved"), timeout=60).content == names[1].encode()

    deleted = place.post("batch-delete", keys=names).json()
    assert (len(deleted["deleted"]), deleted["failed"]) == (len(names), [])
    rest = requests.get(listing, params={"prefix": f"{folder}/"}, timeout=60).json()["items"]
    assert [item["key"] for item in rest] == [f"{folder}/copy", f"{folder}/moved"]


def test_boto3_reads_what_we_wrote(place: Place, folder: str) -> None:
    headers = {"content_type": "application/json", "cache_control": "public, max-age=60"}
    assert put(place, f"{folder}/a.json", MANIFEST, proof_meta_source="camera", **headers).status_code == 201
    seen = place.object(f"{folder}/a.json")
    assert seen["ContentEncoding"] == "gzip"
    assert gzip.decompress(seen["Body"].read()) == MANIFEST
    assert (seen["ContentType"], seen["CacheControl"]) == ("application/json", "public, max-age=60")
    assert seen["Metadata"]["source"] == "camera"
    assert seen["Metadata"]["proof-storage-sha256"] == hashlib.sha256(MANIFEST).hexdigest()
    assert put(place, f"{folder}/b.c2pa", STORE).status_code == 201
    seen = place.object(f"{folder}/b.c2pa")
    assert (seen["Body"].read(), seen["ContentType"]) == (STORE, "application/c2pa")
    assert not seen.get("ContentEncoding")


def test_we_read_what_boto3_wrote(place: Place, folder: str) -> None:
    client, bucket = place.bucket.client(), place.bucket.name
    client.put_object(
        Bucket=bucket,
        Key=f"proofs/{folder}/foreign.json",
        Body=gzip.compress(MANIFEST),
        ContentType="application/json",
        ContentEncoding="gzip",
        CacheControl="no-cache",
        Metadata={"by": "boto3"},
    )
    got = requests.get(
        place.url(f"{folder}/foreign.json"), headers={"Accept-Encoding": "gzip"}, timeout=60
    )
    assert (got.status_code, got.content) == (200, MANIFEST)
    assert (got.headers["content-type"], got.headers["cache-control"]) == ("application/json", "no-cache")
    assert got.headers["proof-meta-by"] == "boto3"
    assert "repr-digest" not in got.headers, "nobody of us made a digest of it"
    client.put_object(Bucket=bucket, Key=f"proofs/{folder}/plain", Body=STORE)
    got = requests.get(place.url(f"{folder}/plain"), timeout=60)
    assert (got.content, got.headers["content-length"]) == (STORE, str(len(STORE)))
    listed = requests.get(
        f"{place.service.url}/v1/proofs", params={"prefix": f"{folder}/"}, timeout=60
    ).json()
    assert [item["key"] for item in listed["items"]] == [f"{folder}/foreign.json", f"{folder}/plain"]


def curl(*arguments: str) -> bytes:
    """What a person types; `--compressed` as browsers do."""
    done = subprocess.run(["curl", "-sS", "-f", "--compressed", *arguments], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def headers_of(signed: dict[str, Any]) -> list[str]:
    """The header fields that must be sent, for curl; and no media type of its own."""
    required = {"Content-Type": "application/octet-stream"} | signed["headers"]
    return [word for name, value in required.items() for word in ("-H", f"{name}: {value}")]


def test_presigned_urls_give_what_the_service_gives(place: Place, folder: str) -> None:
    for name, content_type, body in [
        ("a.json", "application/json", MANIFEST),
        ("b.c2pa", "application/c2pa", STORE),
    ]:
        key = f"{folder}/{name}"
        assert put(place, key, body, content_type=content_type).status_code == 201
        signed = place.post("signed-urls", key=key, method="GET", expires_in=60, via="backend").json()
        assert signed["url"].startswith(place.bucket.endpoint)
        assert curl(signed["url"]) == body == curl(place.url(key))
        head = place.post("signed-urls", key=key, method="HEAD", via="backend").json()
        assert b"200" in curl("-I", head["url"]).splitlines()[0]
        ours = place.post("signed-urls", key=key, method="GET", via="service").json()
        assert curl(ours["url"]) == body


def test_a_presigned_put_is_only_given_where_it_is_write_once(place: Place, folder: str) -> None:
    answer = place.post("signed-urls", key=f"{folder}/up.c2pa", method="PUT", via="backend")
    assert problem(answer) == (501, "UNSUPPORTED"), "neither server keeps all conditions itself"
    ours = place.post("signed-urls", key=f"{folder}/up.c2pa", method="PUT").json()
    assert ours["via"] == "service"
    curl("-o", "/dev/null", "-X", "PUT", "-d", "jumbf", *headers_of(ours), ours["url"])
    assert requests.get(place.url(f"{folder}/up.c2pa"), timeout=60).content == b"jumbf"


def test_downloads_are_sent_on_to_the_server(garage: Place, folder: str, tmp_path: Path) -> None:
    settings = garage.bucket.settings() | {"STORAGE_REDIRECT_DOWNLOADS": f"{folder}/on/"}
    with Service(tmp_path, settings) as service:
        place = examined(Place("garage", garage.bucket, service))
        for name in ("on/a.json", "on/b.c2pa", "off/a.json"):
            assert put(place, f"{folder}/{name}", MANIFEST).status_code == 201

        def ask(method: str, name: str, coding: str = "gzip") -> requests.Response:
            headers = {"Accept-Encoding": coding}
            url = place.url(f"{folder}/{name}")
            return requests.request(method, url, headers=headers, allow_redirects=False, timeout=60)

        sent_on = ask("GET", "on/a.json")
        assert (sent_on.status_code, sent_on.content) == (307, b"")
        assert sent_on.headers["location"].startswith(garage.bucket.endpoint)
        assert curl(sent_on.headers["location"]) == MANIFEST == curl("-L", place.url(f"{folder}/on/a.json"))
        head = ask("HEAD", "on/a.json")
        assert head.status_code == 307
        # A signature holds for one method.
        assert requests.head(head.headers["location"], timeout=60).status_code == 200
        assert requests.head(sent_on.headers["location"], timeout=60).status_code == 403
        # Who does not take the form at rest, readers of C2PA, and other prefixes are answered by the service.
        for name, coding in [("on/a.json", "identity"), ("on/b.c2pa", "gzip"), ("off/a.json", "gzip")]:
            answer = ask("GET", name, coding)
            assert (answer.status_code, answer.content) == (200, MANIFEST)
        assert problem(ask("GET", "on/absent.json")) == (404, "NOT_FOUND")


def test_tags_are_the_servers_own_where_it_has_them(place: Place, folder: str) -> None:
    put(place, f"{folder}/t", b"tagged", proof_tags="type=proof&version=1.0")
    seen = requests.get(f"{place.service.url}/v1/metadata/{folder}/t", timeout=60).json()
    assert seen["tags"] == {"type": "proof", "version": "1.0"}
    client, name = place.bucket.client(), f"proofs/{folder}/t"
    if "tags" in place.features:
        native = client.get_object_tagging(Bucket=place.bucket.name, Key=name)["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in native} == {"type": "proof", "version": "1.0"}
    else:
        kept = client.head_object(Bucket=place.bucket.name, Key=name)["Metadata"]
        assert kept["proof-storage-tags"] == "type=proof&version=1.0"


def test_encryption_is_kept_or_refused_and_never_dropped(place: Place, folder: str) -> None:
    for number, (asked, header) in enumerate([("AES256", "AES256"), ("aws:kms", "aws:kms")]):
        key = f"{folder}/e{number}"
        answer = put(place, key, b"secret", proof_encryption=asked)
        if "encryption" in place.features:
            assert (answer.status_code, answer.json()["encryption"]) == (201, asked)
            assert place.object(key)["ServerSideEncryption"] == header
        else:
            assert problem(answer) == (501, "UNSUPPORTED")
            assert requests.get(place.url(key), timeout=60).status_code == 404


def test_encryption_by_default_is_kept_or_refused_too(place: Place, folder: str, tmp_path: Path) -> None:
    settings = place.bucket.settings() | {"STORAGE_ENCRYPTION": "AES256"}
    with Service(tmp_path, settings) as service:
        other = examined(Place(place.name, place.bucket, service))
        answer = put(other, f"{folder}/e", b"secret")
        if "encryption" in place.features:
            assert (answer.status_code, answer.json()["encryption"]) == (201, "AES256")
            assert place.object(f"{folder}/e")["ServerSideEncryption"] == "AES256"
        else:
            assert problem(answer) == (501, "UNSUPPORTED")
            assert requests.get(other.url(f"{folder}/e"), timeout=60).status_code == 404


def test_versions_are_named_and_a_delete_hides_them(moto: Place, folder: str) -> None:
    stored = put(moto, f"{folder}/v", b"one").json()
    assert stored["version_id"]
    replaced = put(moto, f"{folder}/v", b"two", if_match=stored["etag"]).json()
    assert replaced["version_id"] != stored["version_id"]
    assert requests.delete(moto.url(f"{folder}/v"), timeout=60).status_code == 204
    assert requests.get(moto.url(f"{folder}/v"), timeout=60).status_code == 404
    old = moto.bucket.client().get_object(
        Bucket=moto.bucket.name, Key=f"proofs/{folder}/v", VersionId=stored["version_id"]
    )
    assert old["Body"].read() == b"one", "the bucket keeps what its owner told it to keep"


def test_stats_come_from_an_inventory_that_replicas_share(place: Place, folder: str, tmp_path: Path) -> None:
    def stats(service: Service) -> dict[str, Any]:
        return requests.get(f"{service.url}/v1/stats", timeout=60).json()

    def record() -> dict[str, Any]:
        client, prefix = place.bucket.client(), ".proof-storage/inventory/"
        listed = client.list_objects_v2(Bucket=place.bucket.name, Prefix=prefix)
        assert listed["KeyCount"] == 1
        return listed["Contents"][0]

    before, taken = stats(place.service), record()
    assert before["exact"] is False
    put(place, f"{folder}/1", b"12345")
    put(place, f"{folder}/2", b"123")
    requests.delete(place.url(f"{folder}/2"), timeout=60)
    after = stats(place.service)
    assert after["total_objects"] == before["total_objects"] + 1
    assert after["total_size"] == before["total_size"] + 5
    with Service(tmp_path, place.bucket.settings()) as replica:
        examined(Place(place.name, place.bucket, replica))
        assert stats(replica)["exact"] is False
        assert record()["ETag"] == taken["ETag"], "the replica reads what was counted, and does not count again"
    public = requests.get(f"{place.service.url}/v1/proofs", params={"limit": "1"}, timeout=60).json()
    assert all(not item["key"].startswith(".proof-storage") for item in public["items"])


def test_doctor_says_what_the_server_does(place: Place) -> None:
    environment = place.service.environment()
    done = subprocess.run([binary(), "doctor", "--json"], env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["backends"][0]["report"]
    verdicts = {one["feature"]: one["verdict"] for one in report["findings"]}
    moto_has = "native" if place.name == "moto" else None
    assert verdicts["create-only"] == (moto_has or "gateway")
    # moto looks at the condition of a PUT, and not at that of a copy.
    assert verdicts["copy-conditions"] == "gateway"
    assert verdicts["tags"] == (moto_has or "gateway")
    assert verdicts["encryption-aes256"] == (moto_has or "no")
    assert verdicts["presigned-get"] == "native"
    # Garage names versions too, and does not keep them.
    assert verdicts["versions"] == (moto_has or "no")
    shown = requests.get(f"{place.service.url}/v1/backends", timeout=60).json()["backends"][0]
    assert shown["capabilities"]["create_only"] == "gateway"


def race(services: list[Service], folder: str, writers: int, keys: int) -> tuple[Counter[int], list[list[int]]]:
    """Writers, each with bytes of its own, store the same keys; gives all answers, and who won each key."""
    outcomes: Counter[int] = Counter()
    winners: list[list[int]] = [[] for _ in range(keys)]
    lock = threading.Lock()

    def write(writer: int) -> None:
        service = services[writer % len(services)]
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
        for number in range(keys):
            connection.request("PUT", f"/v1/proofs/{folder}/{number}", f"writer {writer}")
            answer = connection.getresponse()
            answer.read()
            with lock:
                outcomes[answer.status] += 1
                if answer.status == 201:
                    winners[number].append(writer)

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    return outcomes, winners


def test_64_writers_of_the_same_keys_have_one_winner_for_each(
    place: Place, folder: str, figures: Callable[[str], None]
) -> None:
    # moto answers one request after the other, in Python: as many would take it longer than all other tests.
    writers, keys = 64, 100 if place.name == "moto" else 1000
    outcomes, winners = race([place.service], folder, writers, keys)
    assert outcomes == {201: keys, 409: (writers - 1) * keys}
    for number, won in enumerate(winners):
        assert len(won) == 1
        assert requests.get(place.url(f"{folder}/{number}"), timeout=60).text == f"writer {won[0]}"
    figures(f"{writers} writers of {keys} keys over {place.name}: {dict(outcomes)}, each key with its winner's bytes")


def test_control_two_processes_over_garage_have_two_winners(
    garage: Place, folder: str, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    """Garage keeps no condition, so the service's own turns are all there is: of one process."""
    with Service(tmp_path, garage.bucket.settings()) as second:
        examined(Place("garage", garage.bucket, second))
        _, winners = race([garage.service, second], folder, 8, 200)
    doubles = sum(len(won) > 1 for won in winners)
    assert doubles > 0
    figures(f"the same with two processes: {doubles} of 200 keys with more than one winner")
