//! A small JSON API that can fail, or say nothing at all.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::http::connect;

enum Answer {
    Json(String),
    Unavailable,
    /// None, for as long as the client waits.
    Silence,
}

struct Shared {
    answer: Mutex<Answer>,
    asked: AtomicU64,
    stop: AtomicBool,
}

/// A running API; ends when dropped.
pub struct Api {
    address: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Api {
    /// Answers every request with this JSON.
    pub fn start(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            answer: Mutex::new(Answer::Json(answer.to_owned())),
            asked: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut waiting = Vec::new();
            for client in listener.incoming() {
                if theirs.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut client) = client else { continue };
                let Ok(reading) = client.try_clone() else { continue };
                let mut lines = BufReader::new(reading).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|l| !l.is_empty())) {}
                theirs.asked.fetch_add(1, Ordering::SeqCst);
                let reply = match &*theirs.answer.lock().unwrap() {
                    Answer::Json(json) => format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{json}",
                        json.len()
                    ),
                    Answer::Unavailable => {
                        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                            .to_owned()
                    }
                    Answer::Silence => {
                        waiting.push(client);
                        continue;
                    }
                };
                // Who hangs up has lost interest.
                client.write_all(reply.as_bytes()).ok();
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it answers from now on; none for 503.
    pub fn answer(&self, json: Option<&str>) {
        *self.shared.answer.lock().unwrap() =
            json.map_or(Answer::Unavailable, |json| Answer::Json(json.to_owned()));
    }

    /// From now on it takes requests and says nothing.
    pub fn fall_silent(&self) {
        *self.shared.answer.lock().unwrap() = Answer::Silence;
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        connect(&self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
