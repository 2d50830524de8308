# `just` lists these.
default:
    @just --list

# Every test and lint; installs what they need.
check *args:
    ./test {{args}}

# This repository's own documentation, live at http://127.0.0.1:8080.
up *args:
    cargo run --release -- up {{args}}

# The comparisons and measurements of bench/ (release build); `just bench loop` runs one.
bench which="all":
    bench/run {{which}}

# Each fuzzer of fuzz/ for so many seconds; needs a C++ compiler.
fuzz seconds="60" *targets:
    fuzz/run {{seconds}} {{targets}}

# Licences, bans and sources of all dependencies; advisories where they can be fetched.
deny:
    cargo deny check licenses bans sources
    cargo deny check advisories

# Formats everything.
fmt:
    cargo fmt --all
