use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;

use super::{AccessLogSettings, Lines, LogFormat, LogSink, LogWriter, Message, QUEUE};

/// A sink that nobody reads yet, and the writer of one line more: the sink's thread waits with the first buffer, the
/// others fill the queue.
fn full(path: &Path) -> (LogSink, LogWriter) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let settings = AccessLogSettings { to: path.to_str().unwrap().into(), format: LogFormat::Json };
    let sink = LogSink::open(&settings, unbounded_channel().0).unwrap();
    let queue = sink.queue.as_ref().unwrap();
    (0..=QUEUE).for_each(|_| queue.send(Message::Lines(b"before\n".to_vec(), 1)).unwrap());
    let last = LogWriter::new(sink.clone());
    *last.lines.borrow_mut() = Lines { text: b"last\n".to_vec(), count: 1 };
    (sink, last)
}

#[test]
fn a_writer_that_panics_is_noticed() {
    let (failures, mut told) = unbounded_channel();
    let settings = AccessLogSettings { to: "stderr".into(), format: LogFormat::Json };
    let sink = LogSink::open(&settings, failures).unwrap();
    sink.queue.as_ref().unwrap().send(Message::Panic).unwrap();
    assert_eq!(told.blocking_recv().unwrap().to_string(), "the access-log thread has ended: no luck");
}

#[test]
fn the_last_lines_wait_for_a_sink_that_is_slow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (sink, last) = full(&path);
    let (ending, ended) = channel();
    let reader = std::thread::spawn(move || {
        ended.recv().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let lines = BufReader::new(File::open(path).unwrap()).lines().map_while(Result::ok);
        lines.take_while(|line| line != "last").count()
    });
    ending.send(()).unwrap();
    drop(last);
    sink.flush();
    assert!(reader.join().unwrap() >= QUEUE);
    assert_eq!(sink.dropped(), 0);
}

#[test]
fn a_sink_that_takes_nothing_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (sink, last) = full(&path);
    let began = tokio::time::Instant::now();
    drop(last);
    sink.flush();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(sink.dropped(), 1, "and what is lost is counted");
}
