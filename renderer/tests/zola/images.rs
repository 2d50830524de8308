//! Pictures, and copies of them.

use bytes::Bytes;
use renderer::{Renderer, Sources};

use crate::support::{input, render_with, text, with};
use crate::{png, shown};

#[test]
fn drawings_are_as_large_as_their_numbers_say() {
    let drawing = ("static/d.svg", "<svg width=\"210mm\" height=\"297.6mm\" viewBox=\"0 0 210 297\"/>");
    let template = "{% set m = get_image_metadata(path='d.svg') %}{{ m.width }}x{{ m.height }}";
    assert_eq!(shown(template, &[drawing]), "210x297");
    // What content shows a drawing with is what browsers make of it.
    assert_eq!(shown(template, &[drawing, ("bakehouse.toml", "")]), "794x1125");
}

fn with_images(template: &'static str) -> Sources {
    Sources::from_files(image_files(template))
}

fn image_files(template: &'static str) -> Vec<(String, Bytes)> {
    let mut files: Vec<(String, Bytes)> = with(&[
        ("content/p/index.md", "+++\ntitle = \"P\"\n+++\n"),
        ("templates/page.html", template),
        ("static/d.svg", "<svg width='30' height='20'></svg>"),
    ])
    .into_iter()
    .map(|(path, text)| (path.to_owned(), Bytes::from_static(text.as_bytes())))
    .collect();
    files.push(("content/p/i.png".to_owned(), png(300, 200)));
    files
}

#[test]
fn a_processed_image_is_immutable_where_there_is_a_bakehouse_toml() {
    let template = "{% set i = resize_image(path='p/i.png', width=30, height=20) %}{{ i.url }}";
    let mut sources = image_files(template);
    for expected in [false, true] {
        let (_, files) = render_with(&Renderer::new(1 << 20), &input(Sources::from_files(sources.clone())))
            .map_err(|e| e.to_string())
            .unwrap();
        let made = files.values().find(|file| file.path.starts_with("processed_images/")).unwrap();
        assert_eq!(made.immutable, expected);
        sources.push(("bakehouse.toml".to_owned(), Bytes::new()));
    }
}

#[test]
fn images_of_other_sizes() {
    let template = "{% for asset in page.assets %}{% set i = resize_image(path=asset, width=100, height=100) %}{{ i.url }} {{ i.static_path }} {{ i.width }}x{{ i.height }} of {{ i.orig_width }}x{{ i.orig_height }}\n{% endfor %}{% set w = resize_image(path='p/i.png', width=30, op='fit_width', format='webp', filter='triangle') %}{{ w.url }}\n{% set j = resize_image(path='@/p/i.png', height=20, op='fit_height', format='jpg', quality=90) %}{{ j.url }}{% set a = resize_image(path='p/i.png', height=20, op='fit_height', format='avif', quality=60, speed=10) %}{{ a.url }}{% set s = get_image_metadata(path='d.svg') %}{% set m = get_image_metadata(path='p/i.png') %}\n{{ m.width }}x{{ m.height }} {{ m.format }} {{ m.mime }} {{ s.width }} {{ s.mime }} {{ get_image_metadata(path='no.png', allow_missing=true) is none }}";
    let (_, files) = render_with(&Renderer::new(1 << 20), &input(with_images(template)))
        .map_err(|e| e.to_string())
        .unwrap();
    let page = text(&files, "p/index.html");
    let made: Vec<&String> = files.keys().filter(|path| path.starts_with("processed_images/i.")).collect();
    assert_eq!(made.len(), 4, "{made:?}");
    for path in &made {
        assert!(page.contains(&format!("https://x.example/sub/{path}")), "{page}");
        let size = imagesize::blob_size(&files[*path].body).unwrap();
        let expected = match path.rsplit('.').next().unwrap() {
            "png" => (100, 100),
            "webp" | "jpg" | "avif" => (30, 20),
            other => panic!("{other}"),
        };
        assert_eq!((size.width, size.height), expected, "{path}");
    }
    assert!(page.contains(" static/processed_images/i.") && page.contains(" 100x100 of 300x200"), "{page}");
    assert!(page.ends_with("\n300x200 png image/png 30 text/svg+xml true"), "{page}");
}

#[test]
fn copies_of_images_have_the_names_that_zola_gives_them() {
    let mut sources = image_files("{{ resize_image(path='p/i.png', width=240, height=180) }}");
    for name in ["i.0123456789abcdef.png", "i.png"] {
        sources.push((format!("static/processed_images/{name}"), png(1, 1)));
    }
    let copies = |sources: &[(String, Bytes)]| {
        let (_, files) = render_with(&Renderer::new(1 << 20), &input(Sources::from_files(sources.to_vec())))
            .map_err(|e| e.to_string())
            .unwrap();
        files.into_keys().filter(|path| path.starts_with("processed_images/")).collect::<Vec<_>>()
    };
    // What Zola made earlier lies in `static/`, and it takes away what nothing asks for.
    assert_eq!(copies(&sources), ["processed_images/i.e56439cae39cc6a6.png"]);
    sources.push(("bakehouse.toml".to_owned(), Bytes::new()));
    let copies = copies(&sources);
    assert_eq!(copies.len(), 3, "{copies:?}");
    assert!(!copies.contains(&"processed_images/i.e56439cae39cc6a6.png".to_owned()), "{copies:?}");
}

#[test]
fn what_cannot_be_resized_is_told() {
    for (template, problem) in [
        ("{{ resize_image(path='d.svg', width=1, height=1) }}", "cannot be resized: PNG, JPEG, WebP and GIF"),
        ("{{ resize_image(path='p/i.png', width=1, height=1, format='avif', speed=11) }}", "from 1 to 10"),
        ("{{ resize_image(path='p/i.png', width=1) }}", "needs `height`"),
        ("{{ resize_image(path='p/i.pgn', width=1, height=1) }}", "there is no image `p/i.pgn`"),
        ("{{ resize_image(path='p/i.png', width=1, height=1, op='fil') }}", "did you mean `fill`?"),
    ] {
        let result = render_with(&Renderer::new(1 << 20), &input(with_images(template)));
        let told = result.unwrap_err().to_string();
        assert!(told.contains(problem), "{told}");
    }
}
