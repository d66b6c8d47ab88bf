// Read by expat from the front; behind <AppendedData> comes what is no XML.

#include "io/vti_header.h"

#include <expat.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "io/body.h"
#include "io/quote.h"
#include "io/words.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 24;

class VtiParser {
 public:
  VtiParser(std::string_view bytes, const std::vector<std::size_t>& wanted,
            const std::string& source)
      : bytes_(bytes), wanted_(wanted), source_(source), xml_(XML_ParserCreate(nullptr)) {
    if (!xml_) throw SystemError(source + ": expat has no memory");
    XML_SetUserData(xml_.get(), this);
    XML_SetElementHandler(xml_.get(), begin, end);
    XML_SetCharacterDataHandler(xml_.get(), take_text);
    XML_SetStartDoctypeDeclHandler(xml_.get(), refuse_doctype);
  }

  VtiHeader parse() {
    for (std::size_t at = 0; at < bytes_.size() && !stopped_; at += kPiece) {
      const std::string_view piece = bytes_.substr(at, kPiece);
      const bool last = at + piece.size() == bytes_.size();
      const auto status = XML_Parse(xml_.get(), piece.data(), static_cast<int>(piece.size()), last);
      if (!failure_.empty()) throw Error(source_ + ": " + failure_);
      if (status != XML_STATUS_OK && !stopped_) refuse_xml();
    }
    if (!failure_.empty()) throw Error(source_ + ": " + failure_);
    if (pieces_ != 1)
      throw Error(source_ + ": " + std::to_string(pieces_) +
                  " pieces of ImageData: a file of one can be read");
    return std::move(header_);
  }

 private:
  struct Free {
    void operator()(XML_ParserStruct* parser) const { XML_ParserFree(parser); }
  };

  [[noreturn]] void refuse_xml() const {
    throw Error(source_ + ": not XML, or cut short: line " +
                std::to_string(XML_GetCurrentLineNumber(xml_.get())) + ": " +
                XML_ErrorString(XML_GetErrorCode(xml_.get())));
  }

  // Nothing may be thrown through expat: what goes wrong waits until it returns.
  template <class Part>
  void guard(Part part) {
    if (stopped_) return;
    try {
      part();
    } catch (const Error& error) {
      failure_ = std::string(error.what()).substr(source_.size() + 2);
      stop();
    }
  }
  void stop() {
    stopped_ = true;
    XML_StopParser(xml_.get(), XML_FALSE);
  }

  static void begin(void* self, const char* name, const char** attributes) {
    auto& parser = *static_cast<VtiParser*>(self);
    parser.guard([&] { parser.open(name, attributes); });
  }
  static void end(void* self, const char* name) {
    auto& parser = *static_cast<VtiParser*>(self);
    const std::string_view word = name;
    if (word == "PointData" || word == "CellData") parser.section_.clear();
    if (word == "DataArray") parser.text_ = nullptr;
  }
  static void take_text(void* self, const char* text, int length) {
    auto& parser = *static_cast<VtiParser*>(self);
    if (parser.text_) parser.text_->append(text, static_cast<std::size_t>(length));
  }
  static void refuse_doctype(void* self, const char*, const char*, const char*, int) {
    auto& parser = *static_cast<VtiParser*>(self);
    parser.guard([&] { throw Error(parser.source_ + ": a document type has no place in a .vti"); });
  }

  // The attribute of that name, or what stands for none.
  static std::string get(const char** attributes, std::string_view name, const char* none = "") {
    for (; *attributes; attributes += 2)
      if (attributes[0] == name) return attributes[1];
    return none;
  }
  Entry entry(const char** attributes, const char* name, const char* none = "") const {
    return {source_, name, get(attributes, name, none)};
  }

  void open(std::string_view name, const char** attributes) {
    if (!root_ && name != "VTKFile")
      throw Error(source_ + ": not VTK: its root is " + quote(name) + ", not VTKFile");
    if (name == "VTKFile") take_root(attributes);
    if (name == "ImageData") take_image(attributes);
    if (name == "Piece") take_piece(attributes);
    if (name == "PointData" || name == "CellData") section_ = name;
    if (name == "DataArray" && !section_.empty()) take_array(attributes);
    if (name == "AppendedData") take_appended(attributes);
  }

  void take_root(const char** attributes) {
    root_ = true;
    const Entry type = entry(attributes, "type");
    if (type.value != "ImageData") type.refuse("ImageData");
    const Entry order = entry(attributes, "byte_order", "LittleEndian");
    header_.big_endian = order.value == "BigEndian";
    if (!header_.big_endian && order.value != "LittleEndian")
      order.refuse("LittleEndian or BigEndian");
    const Entry size = entry(attributes, "header_type", "UInt32");
    header_.long_header = size.value == "UInt64";
    if (!header_.long_header && size.value != "UInt32") size.refuse("UInt32 or UInt64");
    const Entry compressor = entry(attributes, "compressor");
    header_.compressed = !compressor.value.empty();
    if (header_.compressed && compressor.value != "vtkZLibDataCompressor")
      compressor.refuse("vtkZLibDataCompressor, the one that is read");
  }

  void take_image(const char** attributes) {
    whole_ = get(attributes, "WholeExtent");
    const auto spacing = entry(attributes, "Spacing", "1 1 1").reals(3);
    const auto origin = entry(attributes, "Origin", "0 0 0").reals(3);
    for (std::size_t d = 0; d < 3; ++d) {
      header_.spacing[d] = spacing_of(spacing[d]);
      header_.origin[d] = origin[d];
    }
  }

  void take_piece(const char** attributes) {
    if (++pieces_ > 1) return;
    const auto numbers = entry(attributes, "Extent", whole_.c_str()).wholes(6);
    std::copy(numbers.begin(), numbers.end(), header_.extent.begin());
  }

  void take_array(const char** attributes) {
    VtiArray array;
    array.name = get(attributes, "Name");
    array.type = get(attributes, "type");
    array.format = get(attributes, "format", "ascii");
    array.components = get(attributes, "NumberOfComponents", "1");
    array.offset = get(attributes, "offset");
    array.cell = section_ == "CellData";
    const std::size_t number = header_.arrays.size();
    header_.arrays.push_back(std::move(array));
    const bool wanted = std::find(wanted_.begin(), wanted_.end(), number) != wanted_.end();
    text_ = wanted ? &header_.arrays.back().text : nullptr;
  }

  void take_appended(const char** attributes) {
    const Entry encoding = entry(attributes, "encoding", "base64");
    header_.appended_base64 = encoding.value == "base64";
    if (!header_.appended_base64 && encoding.value != "raw") encoding.refuse("raw or base64");
    const auto after = static_cast<std::size_t>(XML_GetCurrentByteIndex(xml_.get())) +
                       static_cast<std::size_t>(XML_GetCurrentByteCount(xml_.get()));
    const std::size_t mark = bytes_.find_first_not_of(" \t\r\n", std::min(after, bytes_.size()));
    if (mark == std::string_view::npos || bytes_[mark] != '_')
      throw Error(source_ + ": AppendedData: no '_' begins the data");
    header_.appended = mark + 1;
    stop();
  }

  const std::string_view bytes_;
  const std::vector<std::size_t>& wanted_;
  const std::string& source_;
  std::unique_ptr<XML_ParserStruct, Free> xml_;
  VtiHeader header_;
  std::string section_, failure_, whole_;
  // Where the text of the array that is being read goes; arrays_ does not grow within one.
  std::string* text_ = nullptr;
  int pieces_ = 0;
  bool root_ = false, stopped_ = false;
};

}  // namespace

VtiHeader parse_vti(std::string_view bytes, const std::vector<std::size_t>& wanted,
                    const std::string& source) {
  return VtiParser(bytes, wanted, source).parse();
}

}  // namespace kanbench
