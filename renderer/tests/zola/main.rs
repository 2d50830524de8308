//! What Zola's documentation promises to a site, key by key and function by function.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod content;
mod data;
mod files;
mod generated;
mod images;
mod languages;
mod sections;
mod settings;
mod taxonomies;
mod templates;

use bytes::Bytes;

use support::{render, text, with};

/// What a page's template makes of a site.
fn shown(template: &'static str, more: &[(&'static str, &'static str)]) -> String {
    let mut files = with(&[("content/p.md", "+++\ntitle = \"P\"\n+++\n"), ("templates/page.html", template)]);
    for (path, content) in more {
        files.retain(|(known, _)| known != path);
        files.push((path, content));
    }
    let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
    text(&files, "p/index.html")
}

/// A picture of two colours, as a file.
fn png(width: u32, height: u32) -> Bytes {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|i| if i % width < width / 2 { [255, 0, 0] } else { [0, 0, 255] })
        .collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    out.into()
}
