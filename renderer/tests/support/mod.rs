//! Sites in memory, rendered.
#![expect(unreachable_pub, clippy::unwrap_used, reason = "a module of several test binaries")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use release::File;
use renderer::{Errors, Input, Options, Renderer, Sink, SinkClosed, Sources, Summary};

#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, File>>);

impl Sink for Kept {
    fn put(&self, file: File) -> Result<(), SinkClosed> {
        let before = self.0.lock().unwrap().insert(file.path.clone(), file);
        assert!(before.is_none(), "an output came twice: {before:?}");
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), SinkClosed> {
        panic!("a render that hands over everything removed {path}")
    }
}

pub fn sources(files: &[(&str, &str)]) -> Sources {
    Sources::from_files(
        files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::copy_from_slice(text.as_bytes()))),
    )
}

pub fn input(sources: Sources) -> Input {
    Input {
        sources,
        data: Arc::default(),
        row_pages: Arc::default(),
        faults: renderer::data::Faults::default(),
        now: "2026-06-01T12:00:00Z".parse().unwrap(),
        options: Options::default(),
    }
}

pub fn render_with(renderer: &Renderer, input: &Input) -> Result<(Summary, BTreeMap<String, File>), Errors> {
    let kept = Kept::default();
    let summary = renderer.render(input, None, &kept)?;
    Ok((summary, kept.0.into_inner().unwrap()))
}

pub fn render(files: &[(&str, &str)]) -> Result<(Summary, BTreeMap<String, File>), Errors> {
    render_with(&Renderer::new(16 << 20), &input(sources(files)))
}

pub fn text(files: &BTreeMap<String, File>, path: &str) -> String {
    match files.get(path) {
        Some(file) => String::from_utf8(file.body.to_vec()).unwrap(),
        None => panic!("no {path} among {:?}", files.keys().collect::<Vec<_>>()),
    }
}

pub fn errors(files: &[(&str, &str)]) -> String {
    match render(files) {
        Ok((_, files)) => panic!("it rendered: {:?}", files.keys().collect::<Vec<_>>()),
        Err(errors) => errors.to_string(),
    }
}

pub const CONFIG: (&str, &str) = ("zola.toml", "base_url = \"https://x.example/sub\"\ntitle = \"X\"\n");
pub const PLAIN: [(&str, &str); 3] = [
    ("templates/index.html", "{{ section.title }}|{{ section.content | safe }}"),
    ("templates/section.html", "{{ section.title }}|{% for p in section.pages %}{{ p.title }},{% endfor %}"),
    ("templates/page.html", "{{ page.title }}|{{ page.content | safe }}"),
];

pub fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut files = vec![CONFIG];
    files.extend(PLAIN);
    for (path, text) in more {
        files.retain(|(known, _)| known != path);
        files.push((path, text));
    }
    files
}
