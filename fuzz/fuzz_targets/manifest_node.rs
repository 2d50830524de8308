#![no_main]

use release::tree::Node;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(node) = Node::decode(bytes) {
        node.paths();
    }
});
