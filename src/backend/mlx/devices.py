# What MLX sees here.
import mlx.core as mx

next(requests())
metal = mx.metal.is_available()
cuda = hasattr(mx, "cuda") and mx.cuda.is_available()
info = dict(mx.device_info()) if metal or cuda else {}
answer({"metal": metal, "cuda": cuda, "info": {k: v for k, v in info.items() if isinstance(v, (str, int))}})
