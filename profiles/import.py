#!/usr/bin/env python3
"""Writes profiles/devices/<id>.toml from data/devices.csv and device_supplement.csv: `python3 profiles/import.py`.

A cell named in `unsourced_fields` is listed under `unverified`; a figure that is arithmetic on a published one is
listed under `derived`, the supplement's among them. Nothing else is filled in: an empty cell stays out. APIs and
architecture keys follow from the vendor and the product name (tables below).
"""
import csv
import math
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "profiles" / "devices"

ARCH = {"arm64": "aarch64", "x86_64": "x86_64", "riscv64": "riscv64"}
ISA = {
    "neon": ["neon"], "dotprod": ["dot_prod"], "i8mm": ["i8mm"], "fp16": ["fp16"], "bf16": ["bf16"], "sve2": ["sve2"],
    "sme": ["sme"], "avx2": ["avx2", "fma", "f16c"], "avxvnni": ["avx_vnni"],
    "avx512": ["avx512_f", "avx512_bw", "avx512_vl"], "avx512vnni": ["avx512_f", "avx512_bw", "avx512_vl", "avx512_vnni"],
    "avx512bf16": ["avx512_bf16"], "amx-int8": ["amx_tile", "amx_int8"], "amx-bf16": ["amx_tile", "amx_bf16"],
}
# Product name -> architecture key, first match wins.
GPU_ARCH = [
    (r"GTX 10|Tesla P|TITAN Xp|P40|P100", "pascal"), (r"TITAN V|V100", "volta"),
    (r"GTX 16|RTX 20|T4\b|TITAN RTX|Quadro RTX", "turing"), (r"A100|A30\b|A40\b|RTX 30|RTX A\d|Orin", "ampere"),
    (r"RTX 40|\bL4\b|\bL40S?\b|Ada", "ada"), (r"H100|H200", "hopper"), (r"RTX 50|Blackwell|GB10|T5000|T4000|Thor", "blackwell"),
    (r"Jetson Nano", "maxwell"), (r"RX 6|680M", "rdna2"), (r"RX 7|W7900|780M|Z1", "rdna3"), (r"RX 90|R9700", "rdna4"),
    (r"8060S|890M|860M", "rdna3_5"), (r"MI50|MI60", "gcn5"), (r"MI100", "cdna"), (r"MI210", "cdna2"),
    (r"Arc A", "xe_hpg"), (r"B390", "xe3"), (r"Arc (Pro )?B\d", "xe2"), (r"140V", "xe2"), (r"140T|Arc Graphics", "xe_lpg"),
    (r"Adreno", "adreno"), (r"Mali|Immortalis", "mali"), (r"VideoCore", "videocore"), (r"PowerVR", "powervr"),
    (r"Apple GPU", "apple"),
]


def first(pairs, text, default=""):
    return next((v for k, v in pairs if re.search(k, text)), default)


def number(text):
    """The leading number of a cell, None where it has none or names two values."""
    m = re.match(r"\s*(\d+(?:\.\d+)?)", text or "")
    return float(m.group(1)) if m and "disagree" not in text else None


def fmt(x):
    return repr(round(x, 6)).rstrip("0").rstrip(".") if x != int(x) else str(int(x)) + ".0"


def q(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def cores(text):
    """`6+8+2` is 6 fast and 10 slow; `6+2 / 8+2` takes the smaller part; `2+2+4` (three clusters) is 4 and 4."""
    parts = re.findall(r"\d+", text.split("/")[0]) if re.match(r"^\d+(\+\d+)*( /.*)?$", text) else []
    n = [int(p) for p in parts]
    if not n:
        return None
    if len(n) == 3 and n[0] <= 2:
        return n[0] + n[1], n[2]
    return n[0], sum(n[1:])


def slower_memory(source):
    """Where a part comes with two kinds of memory (`BW LPDDR5x-7467 119.5 / DDR5-5600 89.6`), the slower one."""
    m = re.search(r"BW .*?(\d+\.?\d*) / \S+ (\d+\.\d)", source)
    return min(map(float, m.groups())) if m else None


def systems(row):
    cls, vendor, arch = row["class"], row["vendor"], row["cpu_arch"]
    if cls == "phone":
        return ["ios"] if vendor == "Apple" else ["android"]
    if vendor == "Apple":
        return ["macos"]
    if row["device_id"].startswith("snapdragon-x"):
        return ["windows", "linux"]
    if cls == "laptop" and arch == "x86_64":
        return ["windows", "linux"]
    if cls == "sbc" or arch == "arm64":
        return ["linux"]
    return ["linux", "windows"]


def gpu_apis(row, arch):
    name, vendor = row["gpu_name"], row["vendor"]
    if arch == "apple":
        return ["metal"]
    if vendor == "NVIDIA":
        return ["cuda", "vulkan"]
    if vendor == "AMD":
        return ["rocm", "vulkan"] if row["gpu_kind"] == "discrete" or "8060S" in name else ["vulkan"]
    if vendor == "Intel":
        return ["open_vino", "vulkan", "sycl"]
    if arch == "adreno":
        return ["open_cl", "vulkan", "qnn"]
    return ["vulkan"] if arch in ("mali", "videocore", "powervr") else []


def npu(row):
    name = row["npu_name"]
    table = [
        ("Neural Engine", "Apple", "neural_engine", ["core_ml"]), (r"^Hexagon (v\d+)", "Qualcomm", "hexagon", ["qnn"]),
        ("Hexagon", "Qualcomm", "hexagon", ["qnn"]), (r"^NPU", "Intel", "intel_npu", ["open_vino"]),
        ("XDNA2", "AMD", "xdna2", ["xdna"]), ("XDNA", "AMD", "xdna", ["xdna"]), ("RKN", "Rockchip", "rknpu", ["rknn"]),
        ("Hailo", "Hailo", "hailo", ["hailo"]), ("Edge TPU", "Google", "edge_tpu", ["edge_tpu"]),
        ("AX NPU", "Axera", "axera", []), ("TPU", "Google", "tensor_tpu", []),
    ]
    for pattern, vendor, arch, apis in table:
        if m := re.search(pattern, name):
            return vendor, f"hexagon-{m.group(1)}" if m.groups() else arch, apis
    return None


def processor(kind, name, vendor, arch, apis, **numbers):
    lines = ["", "[[processor]]", f"kind = {q(kind)}", f"name = {q(name)}", f"vendor = {q(vendor)}"]
    if arch:
        lines.append(f"architecture = {q(arch)}")
    lines.append("apis = [" + ", ".join(map(q, apis)) + "]")
    return lines + [f"{k} = {fmt(v)}" for k, v in numbers.items() if v is not None]


def cpu_tflops(kinds):
    """`4x2.4x16+4x1.8x8`: cores x GHz x f32 FLOP a cycle."""
    gflops = sum(math.prod(float(n) for n in kind.split("x")) for kind in kinds.split("+")) if kinds else 0
    return gflops / 1e3 or None


def profile(row, extra):
    unsourced = row["unsourced_fields"]
    unverified, derived = [], []

    def supplied(column, field):
        """The supplement's figure, noted as arithmetic or, where its rule says so, as general knowledge."""
        value = number(extra.get(column))
        if value:
            (unverified if "general knowledge" in extra["rule"] else derived).append(field)
        return value

    mem, cpu, gpus = [], [], []
    options = sorted({float(o) for o in re.findall(r"\d+(?:\.\d+)?", row["ram_gb_options"])} if "SRAM" not in row["ram_gb_options"] else set())
    if options:
        mem.append("options_gb = [" + ", ".join(fmt(o) for o in options) + "]")
        if "ram_gb_options" in unsourced:
            unverified.append("memory.options_gb")
    bw = number(row["mem_bandwidth_gbs"]) or slower_memory(row["source"])
    if not bw:
        bw = supplied("bandwidth_gbs", "memory.bandwidth_gbs")
    elif "mem_bandwidth_gbs" in unsourced or re.search(r"arithmetic|derived x|derived \d+MT|derived\)|BW ", row["source"]):
        derived.append("memory.bandwidth_gbs")
    if bw:
        mem.append(f"bandwidth_gbs = {fmt(bw)}")
    arch = ARCH.get(row["cpu_arch"])
    if arch:
        cpu.append(f"arch = {q(arch)}")
        if row["cpu_model"]:
            cpu.append(f"name = {q(row['cpu_model'])}")
        if split := cores(row["cpu_cores(perf+eff)"]):
            cpu += [f"performance_cores = {split[0]}", f"efficiency_cores = {split[1]}"]
            if "cpu_cores" in unsourced:
                unverified.append("cpu.cores")
        if rate := cpu_tflops(extra.get("cpu")):
            cpu.append(f"fp32_tflops = {fmt(rate)}")
            derived.append("cpu.fp32_tflops")
        isa = []
        for word in re.split(r"[;\s]", row["isa_features"]):
            isa += [i for i in ISA.get(word, []) if i not in isa]
        if isa:
            cpu.append("isa = [" + ", ".join(map(q, isa)) + "]")
            if "isa" in unsourced:
                unverified.append("cpu.isa")
    if row["gpu_name"]:
        key = first(GPU_ARCH, row["gpu_name"] + " " + row["name"])
        discrete = row["gpu_kind"] == "discrete"
        fp32, fp16 = number(row["gpu_fp32_tflops"]), number(row["gpu_fp16_tflops"])
        tensor = number(row["gpu_fp16_tensor_tflops_derived"])
        if tensor:
            derived.append("gpu.fp16_tflops")
        # A 16-bit rate below the 32-bit one (Pascal) is never what a kernel uses.
        fp16 = tensor or (fp16 if fp16 and (not fp32 or fp16 >= fp32) else None)
        fp32 = supplied("fp32_tflops", "gpu.fp32_tflops") or fp32
        fp16 = supplied("matrix_tflops", "gpu.fp16_tflops") or fp16
        if "memory.bandwidth_gbs" in derived and not number(row["gpu_bandwidth_gbs"]):
            derived.append("gpu.bandwidth_gbs")
        if "derived" in row["source"] and fp32 and row["vendor"] == "Apple":
            derived.append("gpu.fp32_tflops")
        vendor = {"adreno": "Qualcomm", "mali": "Arm", "videocore": "Broadcom", "powervr": "Imagination"}.get(key, row["vendor"])
        gpus += processor(
            "discrete_gpu" if discrete else "integrated_gpu", row["gpu_name"], vendor, key, gpu_apis(row, key),
            memory_gb=number(row["gpu_mem_gb(or unified)"]) if discrete else None,
            bandwidth_gbs=number(row["gpu_bandwidth_gbs"]) or bw, fp32_tflops=fp32, fp16_tflops=fp16,
            tdp_w=number(row["tdp_w"]) if discrete else None)
    if (n := npu(row)) and row["npu_name"]:
        vendor, key, apis = n
        tops = number(row["npu_tops_int8"])
        if tops and "npu_tops_int8" in unsourced:
            unverified.append("npu.int8_tops")
        gpus += processor("npu", row["npu_name"], vendor, key, apis, int8_tops=tops)
    lines = [
        "# Written by profiles/import.py from data/devices.csv.",
        f"id = {q(row['device_id'])}", f"name = {q(row['name'])}", f"vendor = {q(row['vendor'])}",
        f"class = {q(row['class'])}", "os = [" + ", ".join(map(q, systems(row))) + "]",
        f"source = {q(row['source'].strip().rstrip(';'))}", f"confidence = {q(row['confidence'])}",
    ]
    if unverified:
        lines.append("unverified = [" + ", ".join(map(q, unverified)) + "]")
    if derived:
        lines.append("derived = [" + ", ".join(map(q, derived)) + "]")
    if not discrete_card(row) and (tdp := number(row["tdp_w"])):
        lines.append(f"tdp_w = {fmt(tdp)}")
    if cpu:
        lines += ["", "[cpu]"] + cpu
    if mem:
        lines += ["", "[memory]"] + mem
    return "\n".join(lines + gpus) + "\n"


def discrete_card(row):
    return row["gpu_kind"] == "discrete" and not row["cpu_arch"]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rows, extra = ({r["device_id"]: r for r in csv.DictReader(open(ROOT / "data" / name, newline=""))}
                   for name in ("devices.csv", "device_supplement.csv"))
    for device, row in rows.items():
        (OUT / f"{device}.toml").write_text(profile(row, extra.get(device, {})))
    print(f"{len(rows)} profiles")


if __name__ == "__main__":
    main()
