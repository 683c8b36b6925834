# Makes OpenVINO IR: from a GGUF file by GenAI's reader, and variants of an IR or ONNX file by NNCF.
import shutil

import numpy as np
import openvino as ov
from openvino import opset13 as ops

# The input that says at which positions logits are wanted: prefill asks for the last one, quality for all.
POSITIONS = "logit_positions"
# Between the output layer and the result some models scale or cap the logits.
ELEMENTWISE = {"Add", "Convert", "Divide", "Multiply", "Tanh"}


def from_gguf(request):
    """Reads `gguf` and writes `target`; GenAI puts its files beside the one it reads, so that is a link in `work`."""
    import openvino_genai

    work = request["work"]
    os.makedirs(work)
    link = os.path.join(work, "model.gguf")
    try:
        os.link(request["gguf"], link)
    except OSError:
        shutil.copyfile(request["gguf"], link)
    progress(0.1, "reading GGUF")
    try:
        openvino_genai.LLMPipeline(link, "CPU", enable_save_ov_model=True, ATTENTION_BACKEND="SDPA")
    except RuntimeError as e:
        raise Unsupported("OpenVINO GenAI cannot read this GGUF: " + str(e).strip().splitlines()[-1]) from e
    made = os.path.join(work, "openvino_model.xml")
    if not os.path.exists(made):
        raise Unsupported("OpenVINO GenAI read the GGUF but wrote no model")
    model = ov.Core().read_model(made)
    choose_positions(model)
    progress(0.9, "writing")
    ov.save_model(model, request["target"], compress_to_fp16=False)
    return {}


def choose_positions(model):
    """Puts a Gather over positions before the output layer, so that its cost is paid only where logits are wanted."""
    node = model.output("logits").node.input_value(0).get_node()
    while node.get_type_name() in ELEMENTWISE:
        node = node.input_value(0).get_node()
    if node.get_type_name() != "MatMul":
        raise Unsupported(f"the output layer is a {node.get_type_name()}, not a MatMul")
    positions = ops.parameter([-1], np.int64, name=POSITIONS)
    positions.output(0).get_tensor().set_names({POSITIONS})
    hidden = node.input_value(0)
    gather = ops.gather(hidden, positions, ops.constant(1, np.int64))
    node.input(0).replace_source_output(gather.output(0))
    model.add_parameters([positions])
    model.validate_nodes_and_infer_types()


def variant(request):
    """Writes `target` from `source` with its weights cast or compressed."""
    model = ov.Core().read_model(request["source"])
    progress(0.1, "compressing weights")
    half = False
    if "cast" in request:
        half = request["cast"] == "f16"
        if not half:
            cast(model, getattr(ov.Type, request["cast"]))
    elif "calibrate" in request:
        model = calibrated(model, request["inputs"])
    else:
        model = compress(model, request)
    progress(0.95, "writing")
    ov.save_model(model, request["target"], compress_to_fp16=half)
    return {}


def compress(model, request):
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedCompressionParameters, GroupSizeFallbackMode

    options = {}
    if request["bits"] == 4:
        # Rows that a group does not divide take the largest one that does; where the mode prescribes the group
        # they stay as they are.
        fallback = GroupSizeFallbackMode.ADJUST if request["group"] else GroupSizeFallbackMode.IGNORE
        fit = AdvancedCompressionParameters(group_size_fallback_mode=fallback)
        options = {"ratio": request["ratio"], "advanced_parameters": fit}
        if request["group"]:
            options["group_size"] = request["group"]
        if request["ratio"] < 1:
            options["sensitivity_metric"] = nncf.SensitivityMetric.WEIGHT_QUANTIZATION_ERROR
    return nncf.compress_weights(model, mode=nncf.CompressWeightsMode(request["mode"]), **options)


def calibrated(model, inputs):
    """Weights and activations in 8 bits, ranges taken from the samples in `inputs`."""
    import nncf

    feeds = samples(inputs)
    kinds = [node.get_type_name() for node in model.get_ops()]
    transformer = kinds.count("MatMul") > kinds.count("Convolution")
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    return nncf.quantize(model, nncf.Dataset(feeds), subset_size=len(feeds), model_type=kind)


def samples(path):
    """Feeds of an input set: a safetensors file of tensors named `<sample>/<input>`."""
    types = {"F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
    feeds = {}
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        for key, item in header.items():
            index, name = key.split("/", 1)
            start, end = item["data_offsets"]
            file.seek(8 + size + start)
            values = np.frombuffer(file.read(end - start), types[item["dtype"]])
            feeds.setdefault(int(index), {})[name] = values.reshape(item["shape"])
    return [feeds[index] for index in sorted(feeds)]


def cast(model, to):
    """Stores the weights of a floating-point model in another type."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() not in (ov.Type.f16, ov.Type.f32):
            continue
        if node.get_element_type() == to or len(node.shape) < 2:
            continue
        users = list(node.output(0).get_target_inputs())
        values = node.get_data().astype(np.float32)
        if to == ov.Type.f32:
            new = ops.constant(values)
        else:
            new = ops.convert(ops.constant(values, dtype=to), "f32")
        for user in users:
            convert = user.get_node()
            if node.get_element_type() != ov.Type.f32 and convert.get_type_name() == "Convert":
                convert.output(0).replace(new.output(0))
            elif node.get_element_type() == ov.Type.f32:
                user.replace_source_output(new.output(0))
    model.validate_nodes_and_infer_types()


TASKS = {"from_gguf": from_gguf, "variant": variant}
serve(lambda request: TASKS[request["task"]](request))
