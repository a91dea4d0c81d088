//! Links the binary at a fixed address.
//!
//! Every worker is a process of this one binary. A position-independent executable is relocated at each start, and
//! the relocated pages belong to that process alone: with a thousand workers that is a thousand copies of the same
//! pointers. At a fixed address there is nothing to relocate, and all workers share the pages of the file.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |part: &str| std::env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    let known_to_work = matches!(target("ARCH").as_str(), "x86_64" | "aarch64");
    if target("OS") == "linux" && target("ENV") == "gnu" && known_to_work {
        println!("cargo:rustc-link-arg-bins=-no-pie");
        // The benchmarks start a minimal worker to compare with: it must not lose time that Muster saves.
        println!("cargo:rustc-link-arg-benches=-no-pie");
    }
}
