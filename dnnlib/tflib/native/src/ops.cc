// The native ops, as TensorFlow sees them. One translation unit: TensorFlow's headers take most of
// the time to compile.
#include "op_attend.h"
#include "op_bias_act.h"
#include "op_conv3x3.h"
#include "op_conv_narrow.h"
#include "op_upfirdn.h"
