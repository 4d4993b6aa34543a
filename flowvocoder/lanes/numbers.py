"""LANES float32 numbers as one number of machine code: what numba alone vectorises only where it finds no doubt.

Places in arrays count numbers of a flat one, and are not checked.
"""

import operator
from collections.abc import Callable
from typing import Any, TypeVar

from flowvocoder.extras import library
from flowvocoder.units import LANES

Made = TypeVar("Made", bound=Callable[..., Any])

_extending, _types, _ir = (
    library("numba.extending", "fast"),
    library("numba.types", "fast"),
    library("llvmlite.ir", "fast"),
)
_intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = _extending.intrinsic
_Type: Any = _types.Type
_PrimitiveModel: Any = _extending.models.PrimitiveModel
_overload: Callable[..., Callable[[Made], Made]] = _extending.overload

_VECTOR = _ir.VectorType(_ir.FloatType(), LANES)
_PLACES = _ir.VectorType(_ir.IntType(32), LANES)
# As `elementary.loop`: products and sums become one operation.
_FLAGS = "contract", "arcp"


class Lanes(_Type):  # type: ignore[misc]
    """The type, as numba sees it."""

    def __init__(self) -> None:
        super().__init__(name=f"Lanes({LANES})")


lanes = Lanes()


@_extending.register_model(Lanes)
class _Model(_PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any):
        super().__init__(manager, kind, _VECTOR)


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _load(builder: Any, place: Any) -> Any:
    found = builder.load(place)
    found.align = 4  # of one number: nothing says where they begin
    return found


def _store(builder: Any, value: Any, place: Any) -> None:
    builder.store(value, place).align = 4


def _shuffle(builder: Any, first: Any, second: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(first, second, _ir.Constant(_PLACES, places))


@_intrinsic
def load(typing: Any, array: Any, at: Any) -> Any:
    """LANES numbers of a flat array from a place on."""

    def made(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _load(builder, _place(context, builder, signature.args[0], *given))

    return lanes(array, _types.intp), made


@_intrinsic
def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """Writes LANES numbers to a flat array from a place on."""

    def made(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _store(builder, given[2], _place(context, builder, signature.args[0], *given[:2]))
        return context.get_dummy_value()

    return _types.void(array, _types.intp, lanes), made


@_intrinsic
def every(typing: Any, number: Any) -> Any:
    """The same number in every lane."""

    def made(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        nothing = _ir.Constant(_VECTOR, _ir.Undefined)
        first = builder.insert_element(nothing, given[0], _ir.Constant(_ir.IntType(32), 0))
        return _shuffle(builder, first, nothing, [0] * LANES)

    return lanes(_types.float32), made


@_intrinsic
def root(typing: Any, x: Any) -> Any:
    """The square root."""

    def made(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        kind, name = _ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.sqrt.v{LANES}f32"
        known = builder.module.globals.get(name)
        return builder.call(_ir.Function(builder.module, kind, name) if known is None else known, given)

    return lanes(lanes), made


@_intrinsic
def turned(typing: Any, source: Any, at: Any, step: Any, target: Any, to: Any, width: Any) -> Any:
    """Transposes a square: LANES rows of LANES numbers, `step` apart from `at` on, into as many, `width` apart."""

    def made(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        def row(which: int, number: int) -> Any:
            start, step = given[which + 1], given[which + 2]
            place = builder.add(start, builder.mul(step, _ir.Constant(step.type, number)))
            return _place(context, builder, signature.args[which], given[which], place)

        rows, half = [_load(builder, row(0, number)) for number in range(LANES)], LANES // 2
        while half:
            # Of each two rows, the second half of the first and the first half of the second change places; then halves
            # of halves do.
            for upper in (number for number in range(LANES) if not number & half):
                pair = rows[upper], rows[upper + half]
                kept = [lane if not lane & half else LANES + lane - half for lane in range(LANES)]
                rows[upper] = _shuffle(builder, *pair, kept)
                rows[upper + half] = _shuffle(builder, *pair, [lane + half for lane in kept])
            half //= 2
        for number in range(LANES):
            _store(builder, rows[number], row(3, number))
        return context.get_dummy_value()

    whole = _types.intp
    return _types.void(source, whole, whole, target, whole, whole), made


def _operation(name: str, symbol: Any) -> None:
    """Gives lanes an operation of two numbers."""

    @_intrinsic
    def operation(typing: Any, a: Any, b: Any) -> Any:
        def made(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            return getattr(builder, name)(*given, flags=_FLAGS)

        return lanes(lanes, lanes), made

    @_overload(symbol, strict=False)
    def chosen(a: Any, b: Any) -> Any:
        return (lambda a, b: operation(a, b)) if isinstance(a, Lanes) and isinstance(b, Lanes) else None


_OPERATIONS = ("fadd", operator.add), ("fsub", operator.sub), ("fmul", operator.mul), ("fdiv", operator.truediv)

for _name, _symbol in _OPERATIONS:
    _operation(_name, _symbol)


def _choice(sign: str) -> Any:
    @_intrinsic
    def choice(typing: Any, a: Any, b: Any) -> Any:
        def made(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            return builder.select(builder.fcmp_ordered(sign, *given), *given)

        return lanes(lanes, lanes), made

    return choice


least, greatest = _choice("<"), _choice(">")
