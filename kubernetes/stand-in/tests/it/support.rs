//! A client that speaks bytes, so that the tests see answers as they are, and the objects they are about.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kubernetes_stand_in::StandIn;
use serde_json::{Value, json};

/// How long anything may take before the test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) text: String,
    /// Null where the text is no JSON.
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The object, of an answer that went well.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!(self.code < 300, "{self:?}");
        self.body
    }

    /// The `Status`, of one that did not.
    #[track_caller]
    pub(crate) fn failed(self, code: u16, reason: &str) -> Value {
        assert_eq!((self.code, self.body["reason"].as_str().unwrap_or_default()), (code, reason), "{self:?}");
        assert_eq!(self.body["kind"], "Status");
        self.body
    }

    pub(crate) fn revision(&self) -> String {
        self.body["metadata"]["resourceVersion"].as_str().expect("a version").to_owned()
    }
}

pub(crate) fn get(server: &StandIn, path: &str) -> Reply {
    send(server, "GET", path, &[], "")
}

pub(crate) fn post(server: &StandIn, path: &str, body: &Value) -> Reply {
    send(server, "POST", path, &[("Content-Type", "application/json")], &body.to_string())
}

pub(crate) fn put(server: &StandIn, path: &str, body: &Value) -> Reply {
    send(server, "PUT", path, &[("Content-Type", "application/json")], &body.to_string())
}

pub(crate) fn patch(server: &StandIn, path: &str, kind: &str, body: &Value) -> Reply {
    send(server, "PATCH", path, &[("Content-Type", kind)], &body.to_string())
}

pub(crate) fn delete(server: &StandIn, path: &str) -> Reply {
    send(server, "DELETE", path, &[], "")
}

/// One request on a connection of its own.
pub(crate) fn send(server: &StandIn, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut stream = ask(server, method, path, headers, body);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
    let code = head.split(' ').nth(1).expect("a code").parse().expect("a number");
    let body = serde_json::from_str(text).unwrap_or_default();
    Reply { code, head: head.to_owned(), text: text.to_owned(), body }
}

fn ask(server: &StandIn, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: stand-in\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .expect("it takes the request");
    stream
}

/// A watch.
pub(crate) struct Watching {
    reader: BufReader<TcpStream>,
    /// Read and not yet given out.
    lines: Vec<u8>,
}

/// How a watch came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As an answer ends.
    Whole,
    /// In the middle.
    Cut,
}

impl Watching {
    /// Begins one; the path has a query already.
    pub(crate) fn open(server: &StandIn, path: &str) -> Self {
        let stream = ask(server, "GET", &format!("{path}&watch=1"), &[], "");
        let mut watching = Self { reader: BufReader::new(stream), lines: Vec::new() };
        let head = watching.head();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        watching
    }

    /// The next event, as its type and its object.
    #[track_caller]
    pub(crate) fn event(&mut self) -> (String, Value) {
        let mut event = self.next().expect("an event and no end");
        (event["type"].as_str().expect("a type").to_owned(), event["object"].take())
    }

    /// The type and the object's name, which is enough for most tests.
    #[track_caller]
    pub(crate) fn named(&mut self) -> String {
        let (kind, object) = self.event();
        format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or_default())
    }

    /// The rest must be an end.
    #[track_caller]
    pub(crate) fn end(&mut self) -> End {
        self.next().expect_err("an end and no event")
    }

    fn next(&mut self) -> Result<Value, End> {
        loop {
            if let Some(end) = self.lines.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.lines.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line).expect("a line of JSON"));
            }
            self.read_chunk()?;
        }
    }

    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.reader.read_line(&mut head).expect("a head"), 0, "the answer ends in {head:?}");
        }
        head
    }

    fn read_chunk(&mut self) -> Result<(), End> {
        let mut size = String::new();
        self.reader.read_line(&mut size).expect("within the time");
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| End::Cut)?;
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk).map_err(|_| End::Cut)?;
        self.lines.extend_from_slice(&chunk[..size]);
        if size == 0 { Err(End::Whole) } else { Ok(()) }
    }
}

/// Names in a list, in its order.
pub(crate) fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("a list");
    items.iter().map(|item| item["metadata"]["name"].as_str().expect("a name")).collect()
}

pub(crate) const MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub(crate) fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data})
}

/// The same with labels.
pub(crate) fn labelled(name: &str, labels: Value) -> Value {
    let mut object = map(name, json!({}));
    object["metadata"]["labels"] = labels;
    object
}

pub(crate) const RELEASES: &str = "/apis/serin.example/v1/namespaces/default/releases";

pub(crate) fn release(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "serin.example/v1", "kind": "Release", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

/// One that knows releases.
pub(crate) fn with_releases() -> StandIn {
    let server = StandIn::start();
    server.apply(DEFINITION);
    server
}

pub(crate) const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: releases.serin.example}
spec:
  group: serin.example
  scope: Namespaced
  names: {plural: releases, kind: Release, shortNames: [rel]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Weight, type: integer, jsonPath: .spec.weight}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [weight]
            properties:
              weight: {type: integer, minimum: 0, maximum: 100}
              mode: {type: string, enum: [auto, manual], default: auto}
              sticky: {type: string, pattern: '^[a-z]+$', maxLength: 8}
              port: {x-kubernetes-int-or-string: true}
              note: {type: string, nullable: true}
              extra: {type: object, x-kubernetes-preserve-unknown-fields: true}
              hosts:
                type: array
                x-kubernetes-list-type: set
                items: {type: string}
              phases:
                type: array
                maxItems: 3
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties:
                    name: {type: string}
                    percent: {type: integer, default: 10}
          status:
            type: object
            properties:
              phase: {type: string}
              conditions:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [type]
                items:
                  type: object
                  required: [type]
                  properties:
                    type: {type: string}
                    status: {type: string}
"#;
