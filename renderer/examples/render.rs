//! Renders a folder to a folder, and says what it cost: `cargo run -p renderer --example render -- SITE OUT [TIMES [MEMORY_MIB [EDITED]]]`.
//!
//! With TIMES above 1 it renders again in the same process, as a watching renderer does, and prints the time of each;
//! before each a line is added to the file EDITED of the site.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use release::File;
use renderer::{Input, Limits, Options, Renderer, Sink, SinkClosed, Sources};

struct Folder {
    root: Option<PathBuf>,
    bytes: AtomicU64,
    files: AtomicU64,
}

impl Sink for Folder {
    fn put(&self, file: File) -> Result<(), SinkClosed> {
        self.bytes.fetch_add(file.body.len() as u64, Ordering::Relaxed);
        self.files.fetch_add(1, Ordering::Relaxed);
        let Some(root) = &self.root else { return Ok(()) };
        let path = root.join(&file.path);
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, &file.body));
        written.map_err(|e| {
            eprintln!("{}: {e}", path.display());
            SinkClosed
        })
    }

    fn remove(&self, path: &str) -> Result<(), SinkClosed> {
        println!("{path} is gone");
        Ok(())
    }
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(site), Some(out)) = (args.first(), args.get(1)) else {
        eprintln!("usage: render SITE OUT [TIMES [MEMORY_MIB [EDITED]]]");
        return std::process::ExitCode::from(2);
    };
    let times: usize = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(1);
    let memory: usize = args.get(3).and_then(|n| n.parse().ok()).unwrap_or(if times > 1 { 128 } else { 8 });
    let edited = args.get(4).map(|path| Path::new(site).join(path));
    let renderer =
        if times > 1 { Renderer::new(memory << 20) } else { Renderer::for_one_render(memory << 20) };
    let mut since = None;
    let limits = Limits::default();
    let mut sources = match Sources::from_folder(Path::new(site), &limits) {
        Ok(sources) => sources,
        Err(errors) => {
            eprintln!("{errors}");
            return std::process::ExitCode::FAILURE;
        }
    };
    for n in 0..times {
        let started = Instant::now();
        if n > 0 {
            if let Some(path) = &edited {
                let written = std::fs::OpenOptions::new()
                    .append(true)
                    .open(path)
                    .and_then(|mut file| writeln!(file, "\nEdit {n}."));
                if let Err(e) = written {
                    eprintln!("{}: {e}", path.display());
                }
            }
            match sources.from_folder_again(&limits) {
                Ok(again) => sources = again,
                Err(errors) => eprintln!("{errors}"),
            }
        }
        let listed = started.elapsed();
        let input = Input {
            sources: sources.clone(),
            data: Arc::default(),
            row_pages: Arc::default(),
            faults: renderer::data::Faults::default(),
            now: jiff::Timestamp::now(),
            options: Options::default(),
        };
        let sink = Folder {
            root: (n == 0).then(|| PathBuf::from(out)),
            bytes: AtomicU64::new(0),
            files: AtomicU64::new(0),
        };
        match renderer.render(&input, since, &sink) {
            Ok(summary) => {
                since = Some(summary.render);
                println!(
                    "{} pages, {} sections, {} of {} outputs, {} bytes in {:.1} ms, {:.1} of it to list them, peak {} KiB",
                    summary.pages,
                    summary.sections,
                    sink.files.load(Ordering::Relaxed),
                    summary.outputs,
                    sink.bytes.load(Ordering::Relaxed),
                    started.elapsed().as_secs_f64() * 1000.0,
                    listed.as_secs_f64() * 1000.0,
                    peak_kib()
                );
            }
            Err(errors) => {
                eprintln!("{errors}");
                return std::process::ExitCode::FAILURE;
            }
        }
    }
    std::process::ExitCode::SUCCESS
}
