#![no_main]

use release::url;

// One spelling for each URL, and every path shown by the URLs that depend on it.
libfuzzer_sys::fuzz_target!(|text: &str| {
    let once = url::normalise(text).into_owned();
    assert_eq!(url::normalise(&once), once);
    if let Some(path) = url::site_path(text) {
        assert_eq!(url::site_path(&url::escape(&path)), Some(path.clone()));
        assert!(url::dependents(&url::manifest_path(&path)).contains(&path));
    }
    drop(text.parse::<url::Target>());
});
