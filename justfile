# Every command a person types here. CI types the same: `.ci/run` has the stages, these name them.

# List the commands.
default:
    @just --list --unsorted

# Serve on http://127.0.0.1:8080, proofs in ./data.
serve *arguments:
    cargo run --release -- {{ arguments }}

# Format everything.
fmt:
    cargo fmt --all

# Before a commit: format, clippy with warnings as errors, tests.
check:
    .ci/run format clippy test

# Tests of the library and of HTTP through the router; a filter as usual.
test *filter:
    cargo test --workspace {{ filter }}

# A pool with 100 000 unfinished lines: the one test that does not run unless asked.
many-lines:
    cargo test --test it -- --ignored --nocapture a_hundred_thousand_lines

# Check openapi.yaml and its examples.
openapi:
    .ci/run openapi

# End-to-end tests against the release build; arguments go to pytest.
e2e *arguments:
    .ci/run e2e {{ arguments }}

# Fuzz from the kept corpus: seconds of each target (7), and targets (all).
fuzz *arguments:
    .ci/run fuzz {{ arguments }}

# Find out what the stores do, and write docs/BACKENDS.md.
backends:
    .ci/run backends

# Licences, bans, sources and unused dependencies.
dependencies:
    .ci/run deny machete

# Known vulnerabilities; fetches the advisory database.
advisories:
    cargo deny check advisories

# Show that nothing is lost, in full, and write docs/RELIABILITY.md. Needs root for some rows.
prove *rows="all":
    cargo run --release --package prove -- {{ rows }} --write

# Measure against peers and limits, and write bench/RESULTS.md.
bench *arguments="all --write":
    cargo run --release --package bench -- {{ arguments }}

# Build the container image.
image:
    docker build --tag proof-storage .

# All that CI does.
ci:
    .ci/run
