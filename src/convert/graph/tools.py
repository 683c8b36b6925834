# Makes one variant of an ONNX graph with onnxruntime's quantizers or an Olive pass.
# Request: tool (`onnxruntime`, `olive`, or `olive-builder` for a Hugging Face directory), recipe (a precision's name),
# source, out (a path to write), inputs (a safetensors file of calibration samples, or null). Result: {"made_by"}.
import struct

os.environ.update(OLIVE_DISABLE_TELEMETRY="1", ORT_DISABLE_TELEMETRY="1", USE_TORCH="0")


def samples(path):
    """Feeds of the input set, in order."""
    import numpy as np

    types = {"F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        feeds = {}
        for name, item in header.items():
            index, name = name.split("/", 1)
            start, end = item["data_offsets"]
            file.seek(8 + size + start)
            values = np.frombuffer(file.read(end - start), types[item["dtype"]])
            feeds.setdefault(int(index), {})[name] = values.reshape(item["shape"])
    return [feeds[i] for i in sorted(feeds)]


def reader(path):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.feeds = samples(path)
            self.next = iter(self.feeds)

        def get_next(self):
            return next(self.next, None)

        def rewind(self):
            self.next = iter(self.feeds)

    return Reader()


def operators(model):
    def count(graph):
        for node in graph.node:
            yield node.op_type
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield from count(attribute.g)

    return list(count(model.graph))


def simplified(source, out):
    """Shapes inferred and batch norms folded, as the quantizers want it; the source where that fails."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    for skip in (False, True):
        try:
            quant_pre_process(source, out, skip_symbolic_shape=skip)
            return out
        except Exception:  # noqa: BLE001: the quantizers take the plain file as well
            continue
    return source


def static_operators(source):
    """Everything in a convolutional net, so that integers pass from layer to layer; products only in a transformer."""
    import onnx

    kinds = operators(onnx.load(source, load_external_data=False))
    return None if kinds.count("Conv") >= kinds.count("MatMul") else ["MatMul", "Gemm"]


def has_axes(source):
    """Scales for each channel came with opset 13; an older graph takes one for each tensor."""
    import onnx

    opsets = onnx.load(source, load_external_data=False).opset_import
    return any(o.domain in ("", "ai.onnx") and o.version >= 13 for o in opsets)


WEIGHT_ONLY = {
    "INT8": (8, 32, True),
    "INT4_SYM_G32": (4, 32, True),
    "INT4_SYM_G128": (4, 128, True),
    "INT4_ASYM_G32": (4, 32, False),
}


def with_onnxruntime(recipe, source, out, inputs):
    import onnx
    import onnxruntime
    from onnxruntime import quantization as q

    made_by = f"onnxruntime {onnxruntime.__version__}"
    if recipe == "F16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
        onnx.save(model, out)
        return f"{made_by} float16"
    if recipe in WEIGHT_ONLY:
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        bits, block, symmetric = WEIGHT_ONLY[recipe]
        work = MatMulNBitsQuantizer(onnx.load(source), block_size=block, is_symmetric=symmetric, bits=bits)
        work.process()
        work.model.save_model_to_file(out, False)
        return f"{made_by} MatMulNBits"
    ready = simplified(source, out + ".pre")
    if recipe.startswith("INT8_DYNAMIC"):
        q.quantize_dynamic(ready, out, per_channel=recipe.endswith("_PC"), extra_options={"EnableSubgraph": True})
        return f"{made_by} quantize_dynamic"
    if recipe == "INT8_STATIC":
        if not inputs:
            raise Unsupported("static quantization needs calibration inputs")
        q.quantize_static(
            ready, out, reader(inputs), quant_format=q.QuantFormat.QDQ, per_channel=has_axes(ready),
            op_types_to_quantize=static_operators(ready),
        )
        return f"{made_by} quantize_static QDQ"
    raise Unsupported(f"{recipe} is not made by onnxruntime's quantizers")


def stand_in_for_torch():
    """Olive imports torch at its start; of the passes used here only HQQ calls it. Without it the environment is a
    tenth of the size, so names of an absent torch resolve to empty stand-ins. True where torch is really there."""
    import importlib.machinery
    import importlib.util
    import types

    if importlib.util.find_spec("torch"):
        return True

    class Absent(types.ModuleType):
        __version__ = "0"
        __path__ = []

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            if name[0].isupper() or name.startswith(("float", "bfloat", "int", "uint", "dtype", "device")):
                value = type(name, (), {})
            else:
                value = importlib.import_module(f"{self.__name__}.{name}")
            setattr(self, name, value)
            return value

        def __call__(self, *args, **_):
            # A decorator, with or without arguments of its own.
            return args[0] if len(args) == 1 and callable(args[0]) else lambda f: f

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("torch", "torchmetrics"):
                return importlib.machinery.ModuleSpec(name, self, is_package=True)

        def create_module(self, spec):
            return Absent(spec.name)

        def exec_module(self, module):
            pass

    sys.meta_path.append(Finder())
    return False


OLIVE = {
    "F16": ("OnnxFloatToFloat16", {"keep_io_types": True}),
    "INT8_DYNAMIC": ("OnnxDynamicQuantization", {"per_channel": False}),
    "INT8_DYNAMIC_PC": ("OnnxDynamicQuantization", {"per_channel": True}),
    "INT8_STATIC": ("OnnxStaticQuantization", {"quant_format": "QDQ"}),
    "INT4_KQUANT": ("OnnxKQuantQuantization", {}),
    "INT4_HQQ": ("OnnxHqqQuantization", {"block_size": 32}),
    "INT4_RTN": ("OnnxBlockWiseRtnQuantization", {"block_size": 32}),
}


def with_olive(recipe, source, out, inputs):
    if recipe not in OLIVE:
        raise Unsupported(f"no Olive pass makes {recipe}")
    has_torch = stand_in_for_torch()
    if recipe == "INT4_HQQ" and not has_torch:
        raise Unsupported("Olive's HQQ pass computes with torch, which the small environment leaves out")
    from olive.model import ONNXModelHandler

    name, config = OLIVE[recipe]
    if recipe == "INT8_STATIC":
        if not inputs:
            raise Unsupported("static quantization needs calibration inputs")
        from olive.passes.onnx import quantization

        # The suite's samples in place of a data set of Olive's own.
        quantization.get_calibration_dataloader = lambda *_, **__: reader(inputs)
        config = dict(config, data_config={"name": "suite", "type": "DummyDataContainer"})
        config.update(op_types_to_quantize=static_operators(source), per_channel=has_axes(source))
    made, made_by = run_pass(name, config, ONNXModelHandler(source), out + ".olive")
    os.replace(made, out)
    return made_by


def run_pass(name, config, model, out):
    """The file that the pass made, and what to say made it."""
    from importlib.metadata import version

    from olive.package_config import OlivePackageConfig
    from olive.passes.olive_pass import create_pass_from_dict

    kind = OlivePackageConfig.load_default_config().import_pass_module(name)
    made = create_pass_from_dict(kind, config, disable_search=True).run(model, out)
    if not made or not os.path.isfile(made.model_path):
        raise RuntimeError("Olive ended without a model")
    return made.model_path, f"olive-ai {version('olive-ai')} {name}"


BUILDER = {
    "F32": {"precision": "fp32"},
    "INT4_KQUANT": {"precision": "int4", "int4_algo_config": "k_quant_mixed"},
    "INT4_SYM_G32": {"precision": "int4", "int4_block_size": 32, "int4_is_symmetric": True},
    "INT4_SYM_G128": {"precision": "int4", "int4_block_size": 128, "int4_is_symmetric": True},
    "INT4_ASYM_G32": {"precision": "int4", "int4_block_size": 32, "int4_is_symmetric": False},
}


def with_builder(recipe, source, out):
    """A decoder of a Hugging Face directory, by the pass that `olive optimize` and auto-opt use for one."""
    import importlib.util
    import logging

    missing = [n for n in ("torch", "transformers", "onnxruntime_genai") if not importlib.util.find_spec(n)]
    if missing:
        raise Unsupported(
            f"ModelBuilder reads a Hugging Face directory with {', '.join(missing)}, which this environment lacks: "
            "name one that has olive-ai, torch, transformers and onnxruntime-genai 0.14.1 in EDGE_ADVISOR_OLIVE_DIR"
        )
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    if recipe not in BUILDER:
        raise Unsupported(f"ModelBuilder makes no {recipe}")
    from olive.model import HfModelHandler

    logging.disable(logging.INFO)
    config = dict(BUILDER[recipe])
    if config["precision"] == "int4":
        # Products of 8-bit activations, as for this project's own graphs.
        config["int4_accuracy_level"] = 4
    made, made_by = run_pass("ModelBuilder", config, HfModelHandler(source), out)
    check_loads(recipe, made)
    return made_by


def check_loads(recipe, out):
    """The file loads, and holds matrices of few bits where those were asked for."""
    import onnx
    import onnxruntime

    after = operators(onnx.load(out, load_external_data=False))
    if recipe.startswith("INT4") or recipe == "INT8":
        if not {"MatMulNBits", "GatherBlockQuantized"} & set(after):
            raise Unsupported(f"the graph has no matrix of constant weights for {recipe}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return after, onnxruntime.InferenceSession(out, options, providers=["CPUExecutionProvider"])


def check(recipe, source, out, inputs):
    """The file loads, is another graph than the source, and runs where there are inputs."""
    import onnx

    before = operators(onnx.load(source, load_external_data=False))
    after, session = check_loads(recipe, out)
    if recipe != "F16" and before == after:
        raise Unsupported(f"the graph has nothing that {recipe} quantizes")
    if inputs:
        session.run(None, samples(inputs)[0])


def handle(request):
    recipe, source, out, inputs = (request[k] for k in ("recipe", "source", "out", "inputs"))
    if request["tool"] == "olive-builder":
        return {"made_by": with_builder(recipe, source, out)}
    make = {"onnxruntime": with_onnxruntime, "olive": with_olive}[request["tool"]]
    made_by = make(recipe, source, out, inputs)
    progress(0.9, "checking")
    check(recipe, source, out, inputs)
    return {"made_by": made_by}


serve(handle)
