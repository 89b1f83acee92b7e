//! The program as a user runs it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const ZIPF: &str = "generate --kind zipf --keys 2000 --requests 20000";

/// Runs the program with `input` on its standard input.
fn run(line: &str, input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache-sim"));
    command.args(line.split_whitespace());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = command.spawn().unwrap();
    // A program that does not read closes its end early.
    let _ = program.stdin.take().unwrap().write_all(input);
    program.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn temporary(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn a_generated_trace_replays_to_a_report_and_json() {
    let trace = run(ZIPF, b"").stdout;
    assert_eq!(trace, run(ZIPF, b"").stdout);
    let file = temporary("rows.json");
    let line = format!("replay --trace - --capacity 5%,200 --json {}", file.display());
    let output = run(&line, &trace);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = text(&output.stdout);
    assert!(report.contains("stdin: misses in % of 20000 requests"), "{report}");
    assert!(report.contains("All cells with room for at least 100 entries"), "{report}");
    let rows: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let rows = rows.as_array().unwrap();
    assert!(rows.iter().all(|row| row["requests"] == 20_000 && row["trace"] == "stdin"));
    let misses = |policy: &str| {
        let of_policy =
            |row: &&serde_json::Value| row["policy"] == policy && row["capacity"] == 200;
        rows.iter().find(of_policy).unwrap()["misses"].as_u64().unwrap()
    };
    assert!(misses("opt") < misses("lru") && misses("opt") < misses("ours"));
}

#[test]
fn a_wrong_command_line_ends_with_2_and_one_line() {
    for line in ["", "replay", "replay --trace x", "replay --trace x --capacity no", "generate"] {
        let output = run(line, b"");
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert_eq!(text(&output.stderr).lines().count(), 1, "{line}");
        assert!(output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn a_malformed_line_ends_with_1_and_names_file_and_line() {
    let file = temporary("malformed.txt");
    std::fs::write(&file, "1\n2\nx\n").unwrap();
    let output = run(&format!("replay --trace {} --capacity 1", file.display()), b"");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("malformed.txt: line 3: ") && said.lines().count() == 1, "{said}");
}

#[cfg(not(feature = "peers"))]
#[test]
fn without_peers_it_says_how_to_get_them() {
    let output = run("replay --trace - --capacity 1 --peers", b"1\n");
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("--features peers") && said.lines().count() == 1, "{said}");
}
