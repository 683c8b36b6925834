//! OpenVINO's IR: a graph as XML beside a file of weights. Reads which constants there are, without loading them.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::FormatError;
use super::onnx::{Dim, OnnxSummary, Port};

/// A graph of a large model is a few MB.
const MAX_XML: u64 = 256 << 20;
const MAX_LAYERS: usize = 1 << 20;
const MAX_RANK: usize = 16;
/// What exporters call the file in a model's directory.
const DEFAULT_NAME: &str = "openvino_model.xml";

/// What an IR holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OpenVinoIr {
    pub xml: PathBuf,
    pub weights: PathBuf,
    pub weight_file_bytes: u64,
    pub constants: Vec<IrConstant>,
    /// In the graph's order, types spelled as ONNX does.
    pub inputs: Vec<Port>,
    /// Layers that hold state between calls, `ReadValue`.
    pub states: u64,
    /// Layers that quantize activations, `FakeQuantize`.
    pub fake_quantize: u64,
    pub layers: u64,
}

/// What the reader is in.
#[derive(Clone, Copy, PartialEq)]
enum Layer {
    Constant,
    Input,
    Other,
}

/// A constant of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IrConstant {
    /// As the file spells it: `f16`, `i4`, `nf4`.
    pub dtype: String,
    pub shape: Vec<u64>,
    pub bytes: u64,
}

impl IrConstant {
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |n, d| n.saturating_mul(*d))
    }

    /// Shapes, axes and other whole numbers that no weight is stored in.
    pub fn is_index(&self) -> bool {
        matches!(self.dtype.as_str(), "i64" | "i32" | "boolean" | "string" | "u64" | "u32")
    }

    /// A matrix or kernel; scales and zero points of groups end in 1.
    pub fn is_weight(&self) -> bool {
        !self.is_index() && self.shape.len() >= 2 && self.shape.last() != Some(&1)
    }
}

impl OpenVinoIr {
    /// The IR at `path`: its XML, or a directory that holds `openvino_model.xml`. `None` for any other kind of path.
    pub fn at(path: &Path) -> Option<PathBuf> {
        let inside = path.join(DEFAULT_NAME);
        if path.is_dir() && inside.is_file() {
            return Some(inside);
        }
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("xml")).then(|| path.to_owned())
    }

    /// Reads the graph at `xml`. Fails where it is no IR, or its weights are missing or shorter than it says.
    pub fn open(xml: &Path) -> Result<Self, FormatError> {
        let read = |e| FormatError::read(xml, e);
        let file = File::open(xml).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        if size > MAX_XML {
            return Err(FormatError::damaged(xml, format!("{size} bytes of XML are no graph")));
        }
        let mut ir = Self { xml: xml.to_owned(), ..Self::default() };
        let needed = ir.parse(Reader::from_reader(BufReader::new(file)))?;
        ir.weights = xml.with_extension("bin");
        ir.weight_file_bytes = match fs::metadata(&ir.weights) {
            Ok(meta) => meta.len(),
            // A graph may have no weights at all.
            Err(_) if needed == 0 => 0,
            Err(e) => return Err(FormatError::read(&ir.weights, e)),
        };
        if needed > ir.weight_file_bytes {
            return Err(FormatError::Truncated {
                path: ir.weights,
                what: "the last constant".into(),
                needed,
                found: ir.weight_file_bytes,
            });
        }
        Ok(ir)
    }

    /// Fills everything but the weights' size; returns how far into them the constants reach.
    fn parse(&mut self, mut reader: Reader<BufReader<File>>) -> Result<u64, FormatError> {
        let path = self.xml.clone();
        let damaged = |why: String| FormatError::damaged(&path, why);
        let (mut buffer, mut root, mut layer, mut end) = (Vec::new(), false, Layer::Other, 0u64);
        loop {
            buffer.clear();
            let event = reader.read_event_into(&mut buffer).map_err(|e| damaged(e.to_string()))?;
            let element = match &event {
                Event::Start(e) | Event::Empty(e) => e,
                Event::Eof => return Err(damaged("it ends before its graph does".into())),
                Event::End(e) if e.name().as_ref() == "net" => return Ok(end),
                _ => continue,
            };
            match element.name().as_ref() {
                "net" => root = true,
                _ if !root => {
                    return Err(FormatError::NotThisFormat {
                        path,
                        wanted: "an OpenVINO IR",
                        why: "its first element is not `net`".into(),
                    });
                }
                "layer" => layer = self.layer(element).map_err(damaged)?,
                "data" if layer == Layer::Constant => {
                    let (c, reach) = read_constant(element).map_err(damaged)?;
                    self.constants.push(c);
                    end = end.max(reach);
                    layer = Layer::Other;
                }
                "data" if layer == Layer::Input => self.input(element).map_err(damaged)?,
                // What callers know an input by, where it differs from the layer's name.
                "port" if layer == Layer::Input => {
                    let names = element.try_get_attribute("names").ok().flatten();
                    if let (Some(_), Some(port)) = (names, self.inputs.last_mut()) {
                        let names = attribute(element, "names").map_err(damaged)?;
                        port.name = names.split(',').next().unwrap_or_default().to_owned();
                    }
                }
                _ => {}
            }
        }
    }

    /// Counts a layer and says what to look for in it.
    fn layer(&mut self, element: &BytesStart<'_>) -> Result<Layer, String> {
        self.layers += 1;
        if self.layers > MAX_LAYERS as u64 {
            return Err(format!("more than {MAX_LAYERS} layers"));
        }
        match attribute(element, "type")?.as_str() {
            "Const" => return Ok(Layer::Constant),
            "Parameter" => {
                let name = attribute(element, "name")?;
                self.inputs.push(Port { name, dtype: String::new(), dims: Vec::new() });
                return Ok(Layer::Input);
            }
            "ReadValue" => self.states += 1,
            "FakeQuantize" => self.fake_quantize += 1,
            _ => {}
        }
        Ok(Layer::Other)
    }

    /// Type and axes of the input whose layer came last.
    fn input(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        let (dtype, shape) = (attribute(element, "element_type")?, attribute(element, "shape")?);
        let dims = shape.split(',').map(str::trim).filter(|d| !d.is_empty()).take(MAX_RANK);
        if let Some(port) = self.inputs.last_mut() {
            let dim = |d: &str| d.parse().map_or_else(|_| Dim::Free(String::new()), Dim::Fixed);
            port.dims = dims.map(dim).collect();
            port.dtype = match dtype.as_str() {
                "f32" => "FLOAT".to_owned(),
                "f16" => "FLOAT16".to_owned(),
                "boolean" => "BOOL".to_owned(),
                "i64" | "i32" | "i16" | "i8" => dtype.replace('i', "INT"),
                other => other.replace('u', "UINT"),
            };
        }
        Ok(())
    }

    /// The inputs as those of an ONNX graph, for what works on either.
    pub fn as_onnx(&self) -> OnnxSummary {
        OnnxSummary { inputs: self.inputs.clone(), ..OnnxSummary::default() }
    }

    /// Bytes of all constants.
    pub fn constant_bytes(&self) -> u64 {
        self.constants.iter().map(|c| c.bytes).fold(0, u64::saturating_add)
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<String, String> {
    let found = element.try_get_attribute(name).map_err(|e| e.to_string())?;
    let found = found.ok_or_else(|| format!("a layer has no `{name}`"))?;
    Ok(found.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?.into_owned())
}

/// The constant and the offset just behind it.
fn read_constant(element: &BytesStart<'_>) -> Result<(IrConstant, u64), String> {
    let number = |name: &str| {
        let text = attribute(element, name)?;
        text.parse::<u64>().map_err(|_| format!("a constant's `{name}` is `{}`", shown(&text)))
    };
    let shape = attribute(element, "shape")?;
    let dims = shape.split(',').map(str::trim).filter(|d| !d.is_empty()).take(MAX_RANK + 1);
    let shape: Vec<u64> = dims
        .map(|d| d.parse().map_err(|_| format!("a constant has the shape `{}`", shown(&shape))))
        .collect::<Result<_, _>>()?;
    if shape.len() > MAX_RANK {
        return Err(format!("a constant has more than {MAX_RANK} dimensions"));
    }
    let (offset, bytes) = (number("offset")?, number("size")?);
    let end = offset.checked_add(bytes).ok_or("a constant ends beyond every file")?;
    Ok((IrConstant { dtype: attribute(element, "element_type")?, shape, bytes }, end))
}

fn shown(text: &str) -> String {
    text.escape_debug().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAPH: &str = r#"<?xml version="1.0"?><net name="m" version="11"><layers>
        <layer id="0" name="x0" type="Parameter"><data shape="?,4" element_type="f32"/>
        <output><port id="0" precision="FP32" names="x,x:0"/></output></layer>
        <layer id="1" name="w" type="Const"><data element_type="u4" shape="8,2,64" offset="0" size="512"/></layer>
        <layer id="2" name="s" type="Const"><data element_type="f16" shape="8,2,1" offset="512" size="32"/></layer>
        <layer id="3" name="a" type="Const"><data element_type="i64" shape="" offset="544" size="8"/></layer>
        <layer id="4" name="q" type="FakeQuantize"/></layers></net>"#;

    fn open(graph: &str, weights: usize) -> Result<OpenVinoIr, FormatError> {
        let dir = tempfile::tempdir().unwrap();
        let xml = dir.path().join("openvino_model.xml");
        fs::write(&xml, graph).unwrap();
        fs::write(dir.path().join("openvino_model.bin"), vec![0; weights]).unwrap();
        assert_eq!(OpenVinoIr::at(dir.path()), Some(xml.clone()));
        OpenVinoIr::open(&xml)
    }

    #[test]
    fn constants_inputs_and_quantizers_are_read() {
        let ir = open(GRAPH, 552).unwrap();
        let x = Port {
            name: "x".into(),
            dtype: "FLOAT".into(),
            dims: vec![Dim::Free(String::new()), Dim::Fixed(4)],
        };
        assert_eq!(ir.as_onnx().inputs, [x]);
        assert_eq!((ir.layers, ir.fake_quantize, ir.constant_bytes()), (5, 1, 552));
        let weights: Vec<_> = ir.constants.iter().filter(|c| c.is_weight()).collect();
        assert_eq!((weights.len(), weights[0].elements()), (1, 1024));
    }

    #[test]
    fn truncated_weights_and_broken_graphs_are_one_error_each() {
        let e = open(GRAPH, 551).unwrap_err();
        assert!(e.to_string().contains("truncated"), "{e}");
        assert!(open("<html><body/></html>", 0).unwrap_err().to_string().contains("not `net`"));
        assert!(open("", 0).unwrap_err().to_string().contains("ends before its"));
        let bad = GRAPH.replace("offset=\"0\"", "offset=\"18446744073709551615\"");
        assert!(open(&bad, 600).unwrap_err().to_string().contains("beyond every file"));
        assert!(open(&GRAPH.replace("8,2,64", "8,-2"), 600).is_err());
        assert!(open(&GRAPH[..GRAPH.len() / 2], 600).is_err());
    }
}
