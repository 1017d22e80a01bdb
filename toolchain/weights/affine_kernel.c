/* Affine quantization of bfloat16 rows in one pass over the bytes, giving the same bytes as MLX's `mx.quantize`.
 *
 * The arithmetic is that of MLX's CPU backend (mlx/backend/cpu/quantized.cpp): each operation is rounded once, and
 * nothing is contracted or reordered, so that every machine gives the same bytes. affine.py decides when it is used, and
 * what happens if it was not built.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LARGEST_GROUP 128
#define INFINITE 0x7f80      /* as a bfloat16 */
#define ROUNDING 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, half to even, as rint does */

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

static inline float widened(uint16_t number) {
  uint32_t bits = (uint32_t)number << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint16_t narrowed(float value) { /* rounds to nearest, half to even; the value is never NaN */
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* Packs numbers with the least significant bits first. */
static inline uint8_t *packed(uint8_t *out, const uint8_t *numbers, int count, int bits) {
  if (bits == 8) {
    memcpy(out, numbers, (size_t)count);
    return out + count;
  }
  if (bits == 4) {
    for (int k = 0; k < count / 2; k++) out[k] = (uint8_t)(numbers[2 * k] | numbers[2 * k + 1] << 4);
    return out + count / 2;
  }
  uint32_t waiting = 0;
  for (int k = 0, held = 0; k < count; k++) {
    waiting |= (uint32_t)numbers[k] << held;
    for (held += bits; held >= 8; held -= 8, waiting >>= 8) *out++ = (uint8_t)waiting;
  }
  return out;
}

/* Maps numbers to integers in the same order, with infinities at the ends and NaN beyond; it is its own inverse. */
static inline int16_t ordered(uint16_t number) {
  return (int16_t)(number ^ ((uint16_t)((int16_t)number >> 15) & 0x7fff));
}

/* Inlined with a group size that the compiler knows, so that every loop becomes a few vector instructions. */
static inline __attribute__((always_inline)) int quantized_groups(const uint16_t *source, Py_ssize_t groups,
                                                                  const int group_size, int bits, uint8_t *weight,
                                                                  uint16_t *scales, uint16_t *biases) {
  const float bins = (float)((1 << bits) - 1);
  uint8_t numbers[LARGEST_GROUP];
  int16_t highest = INT16_MIN, lowest = INT16_MAX;
  for (Py_ssize_t group = 0; group < groups; group++, source += group_size) {
    int16_t last = INT16_MIN, first = INT16_MAX;
    for (int j = 0; j < group_size; j++) {
      int16_t rank = ordered(source[j]);
      last = rank > last ? rank : last;
      first = rank < first ? rank : first;
    }
    highest = last > highest ? last : highest;
    lowest = first < lowest ? first : lowest;
    float top = widened((uint16_t)ordered((uint16_t)last)), bottom = widened((uint16_t)ordered((uint16_t)first));
    int negative = fabsf(bottom) > fabsf(top);
    float scale = (top - bottom) / bins;
    scale = scale > 1e-7f ? scale : 1e-7f;
    scale = negative ? scale : -scale;
    float edge = negative ? bottom : top, bias = 0;
    float steps = rintf(edge / scale);
    if (steps != 0) scale = edge / steps, bias = edge;
    for (int j = 0; j < group_size; j++) {
      float number = ((widened(source[j]) - bias) / scale + ROUNDING) - ROUNDING;
      number = number > 0 ? number : 0;
      number = number < bins ? number : bins;
      numbers[j] = (uint8_t)(int32_t)number;
    }
    weight = packed(weight, numbers, group_size, bits);
    scales[group] = narrowed(scale);
    biases[group] = narrowed(bias);
  }
  return groups == 0 || (highest < ordered(INFINITE) && lowest > ordered(INFINITE | 0x8000));
}

/* Returns whether all numbers are finite. */
FOR_EACH_PROCESSOR
static int quantized(const uint16_t *source, Py_ssize_t groups, int group_size, int bits, uint8_t *weight,
                     uint16_t *scales, uint16_t *biases) {
  switch (group_size) {
    case 32: return quantized_groups(source, groups, 32, bits, weight, scales, biases);
    case 64: return quantized_groups(source, groups, 64, bits, weight, scales, biases);
    default: return quantized_groups(source, groups, LARGEST_GROUP, bits, weight, scales, biases);
  }
}

static PyObject *quantize(PyObject *Py_UNUSED(module), PyObject *arguments) {
  Py_buffer source, weight, scales, biases;
  int group_size, bits, finite = 0;
  if (!PyArg_ParseTuple(arguments, "y*iiw*w*w*", &source, &group_size, &bits, &weight, &scales, &biases)) return NULL;
  Py_ssize_t groups = group_size > 0 ? source.len / 2 / group_size : 0;
  int suits = (group_size == 32 || group_size == 64 || group_size == LARGEST_GROUP) && bits >= 1 && bits <= 8 &&
              groups * group_size * 2 == source.len && weight.len == groups * (group_size * bits / 8) &&
              scales.len == groups * 2 && biases.len == groups * 2;
  if (suits) {
    Py_BEGIN_ALLOW_THREADS
    finite = quantized(source.buf, groups, group_size, bits, weight.buf, scales.buf, biases.buf);
    Py_END_ALLOW_THREADS
  }
  PyBuffer_Release(&source);
  PyBuffer_Release(&weight);
  PyBuffer_Release(&scales);
  PyBuffer_Release(&biases);
  if (!suits) {
    PyErr_SetString(PyExc_ValueError, "the buffers do not fit the groups");
    return NULL;
  }
  return PyBool_FromLong(finite);
}

static PyMethodDef functions[] = {
    {"quantize", quantize, METH_VARARGS,
     "quantize(source, group_size, bits, weight, scales, biases) -> bool\n\n"
     "Fill three buffers from one of bfloat16 numbers; false if a number is NaN or infinite.\n"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "affine_kernel", NULL, 0, functions,
                                        NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_affine_kernel(void) { return PyModule_Create(&definition); }
