//! What a change of the rules costs: validating and compiling everything once, then only what differs.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use routing_rules::release::ReleaseContext;
use routing_rules::rules::{AddressSet, RuleSet};
use routing_rules::table::RouteTable;
use serin_micro::{SIZES, changed, rules, spec, with_other_endpoint, with_other_route};
use serin_proxy::control_path::assemble::Assembler;
use serin_proxy::snapshot::Snapshot;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    let context = ReleaseContext::default();
    for size in SIZES {
        let spec = spec(size);
        let before = rules(&spec);
        let compiled = RouteTable::compile(&before, &context);
        // Compiling 100,000 routes takes a good part of a second; ten samples say enough.
        group.sample_size(if size > 10_000 { 10 } else { 50 });
        group.bench_function(BenchmarkId::new("validate all", size), |bencher| {
            bencher.iter_with_large_drop(|| RuleSet::from_spec(black_box(&spec)));
        });
        group.bench_function(BenchmarkId::new("compile all", size), |bencher| {
            bencher.iter_with_large_drop(|| RouteTable::compile(black_box(&before), &context));
        });
        group.sample_size(100);
        let changes =
            [("update one endpoint", with_other_endpoint(&spec)), ("update one route", with_other_route(&spec))];
        for (name, other) in changes {
            let after = changed(&before, &spec, &other);
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| compiled.update(black_box(&after), &context));
            });
        }
    }
    group.finish();
}

fn snapshot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    for size in SIZES {
        let spec = spec(size);
        let before = rules(&spec);
        let new = || Assembler::new(2, ReleaseContext::default(), AddressSet::default(), None);
        group.sample_size(if size > 10_000 { 10 } else { 50 });
        group.bench_function(BenchmarkId::new("first", size), |bencher| {
            bencher.iter_batched(
                || (new(), Snapshot::empty()),
                |(mut assembler, empty)| {
                    let first = assembler.next(&empty, black_box(&before));
                    (assembler, first)
                },
                BatchSize::PerIteration,
            );
        });
        group.sample_size(100);
        for (name, other) in [("one endpoint", with_other_endpoint(&spec)), ("one route", with_other_route(&spec))] {
            let after = changed(&before, &spec, &other);
            let mut assembler = new();
            let mut current = assembler.next(&Snapshot::empty(), &before);
            let mut turns = [&after, &before].into_iter().cycle();
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| {
                    let rules = turns.next().expect("the cycle has no end");
                    current = assembler.next(&current, black_box(rules));
                });
            });
        }
    }
    group.finish();
}

fn short() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = all;
    config = short();
    targets = table, snapshot
}
criterion_main!(all);
